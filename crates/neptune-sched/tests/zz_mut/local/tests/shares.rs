//! What stream pauses, the minimum share of batch work and the CPU quota do to the slots.

use super::*;

scripts! {
    a_pause_of_a_stream_does_not_give_its_slot_away: 1, [Neptune, Kill], "
        job b batch
        job s stream
        s.1 begins
        b.1 begins => waits
        s.1 pauses => idle
        +200us
        tick
        s.1 begins => runs
        s.1 pauses => idle
        +299us
        tick
        +1us
        tick       => wake b.1
    ";

    a_pause_ends_with_the_last_stream_task: 1, [Neptune], "
        job b batch
        job s stream
        s.1 begins
        b.1 begins => waits
        s.1 pauses => idle
        s.1 ends   => wake b.1
    ";

    a_pause_that_outlived_a_victims_grace_asks_it_again: 1, [Neptune], "
        set max_suspensions 0
        set grace 1ms
        set linger 10ms
        job b batch
        job s stream
        b.1 begins
        s.1 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        s.1 ends   => wake b.1
        b.1 begins => runs resumed after 0ms
        s.2 begins => runs
        s.2 pauses
        +2ms
        s.2 begins => runs, preempt b.1 for stream
    ";

    a_shorter_linger_acts_at_once: 1, [Neptune], "
        set linger 10ms
        job b batch
        job s stream
        s.1 begins
        b.1 begins => waits
        s.1 pauses
        set linger 1ms
        +1ms
        tick => wake b.1
    ";

    neither_its_user_nor_the_quota_spares_a_task_in_its_grace: 1, [Neptune], "
        set max_suspensions 0
        job b batch
        job s stream
        b.1 begins
        s.1 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        s.1 ends   => wake b.1
        b.1 begins => runs resumed after 0ms
        paced out  => preempt b.1 for quota
        b.1 pauses => suspended after 0ms
        paced in   => wake b.1
        b.1 begins => runs resumed after 0ms
        hold b     => preempt b.1 for user
    ";

    the_quota_and_the_user_do_not_use_up_a_tasks_suspensions: 1, [Neptune], "
        set max_suspensions 0
        job b batch
        job s stream
        b.1 begins
        paced out  => preempt b.1 for quota
        b.1 pauses => suspended after 0ms
        paced in   => wake b.1
        b.1 begins => runs resumed after 0ms
        hold b     => preempt b.1 for user
        b.1 pauses => suspended after 0ms
        resume b   => wake b.1
        b.1 begins => runs resumed after 0ms
        s.1 begins => runs, preempt b.1 for stream
    ";

    no_new_grant_while_the_quota_is_used_up: 2, [Neptune, Fifo, Kill], "
        job b batch
        job s stream
        b.1 begins
        paced out  => preempt b.1 for quota
        b.2 begins => waits
        s.1 begins => runs
        b.1 pauses => suspended after 0ms
        s.1 ends
        paced in   => wake b.1, wake b.2
    ";

    streams_leave_a_slot_to_batch_work_that_is_due: 2, [Neptune, Priority, Kill], "
        job s stream
        job b batch
        s.1 begins
        +1ms
        s.2 begins
        b.1 begins => waits
        +19ms
        tick
        +2ms
        tick       => preempt s.2 for share
        # Asked once is enough.
        +1ms
        tick
        s.2 pauses => suspended after 1ms, wake b.1
        b.1 begins => runs
        # While batch is owed something streams keep to one slot.
        s.3 begins => waits
        +4ms
        b.1 pauses => idle, wake s.2
    ";

    batch_work_that_is_due_gets_the_only_slot: 1, [Neptune, Priority, Kill], "
        set linger 0ms
        job s stream
        job b batch
        s.1 begins
        b.1 begins => waits
        +41ms
        tick       => preempt s.1 for share
        s.1 pauses => suspended after 0ms, wake b.1
        b.1 begins
        s.2 begins => waits
        +3ms
        b.1 pauses => idle, wake s.1
    ";

    batch_work_that_is_due_and_gone_leaves_its_slot: 1, [Neptune, Priority, Kill], "
        job s stream
        job b batch
        s.1 begins
        b.1 begins => waits
        +41ms
        tick       => preempt s.1 for share
        s.1 pauses => suspended after 0ms, wake b.1
        b.1 ends   => wake s.1
    ";

    policies_that_know_no_classes_owe_batch_nothing: 1, [Fifo, Fair], "
        job s stream
        job b batch
        s.1 begins
        b.1 begins => waits
        +900ms
        tick
    ";

    the_minimum_share_holds_inside_a_quota: 2, [Neptune], "
        job s stream
        job b batch
        s.1 begins
        b.1 b.2 begin => runs, waits
        paced out  => preempt b.1 for quota
        b.1 pauses => suspended after 0ms
        +41ms
        tick       => wake b.1
        b.1 begins => runs resumed after 0ms
        +5ms
        tick       => preempt b.1 for quota
        b.1 pauses => suspended after 0ms
    ";

    a_pause_keeps_one_slot_however_often_it_comes: 2, [Neptune], "
        job b batch
        job s stream
        s.1 begins
        b.1 b.2 begin => runs, waits
        s.1 pauses
        s.1 begins
        s.1 pauses
        s.1 begins
        s.2 begins => runs, preempt b.1 for stream
        s.2 ends   => 
        s.1 pauses => idle
        +300us
        tick       => wake b.2
    ";

    pacing_leaves_one_batch_task_while_batch_is_due: 2, [Neptune], "
        job b batch
        job s stream
        s.1 s.2 begin
        b.1 b.2 begin => waits, waits
        +25ms
        tick       => preempt s.1 for share
        s.1 pauses => suspended after 0ms, wake b.1
        b.1 begins => runs
        paced out
        paced in
        s.2 ends   => wake s.1
    ";
}
