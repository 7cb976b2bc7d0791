//! What a task costs.

#[test]
fn the_runtime_keeps_less_than_a_kibibyte_per_task() {
    let bytes = neptune_exec::task_state_bytes();
    assert!(bytes <= 1024, "{bytes} bytes");
}
