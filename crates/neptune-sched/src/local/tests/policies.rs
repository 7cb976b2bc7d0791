//! What tells the policies apart, and what happens when they are exchanged.

use super::*;

scripts! {
    a_free_slot_goes_to_whoever_comes: 2, [Fifo, Fair, Static, Priority, Kill, Neptune], "
        job b batch
        job s stream
        b.1 begins => runs
        s.1 begins => runs
    ";

    fifo_serves_jobs_in_the_order_of_their_submission: 1, [Fifo], "
        job a batch
        job b batch priority=9
        job s stream
        a.1 begins
        s.1 b.1 begin => waits, waits
        a.2 begins => waits
        a.1 pauses => idle, wake a.2
        a.2 begins
        a.2 ends   => wake b.1
        b.1 begins
        b.1 ends   => wake s.1
    ";

    fair_serves_the_job_that_had_least_for_its_weight: 1, [Fair], "
        job a batch weight=3
        job b batch
        a.1 begins
        b.1 begins => waits
        +3ms
        a.1 pauses => idle, wake b.1
        b.1 begins
        a.1 begins => waits
        +2ms
        b.1 pauses => idle, wake a.1
        a.1 begins
        b.1 begins => waits
        # a has had 3/3, b 2/1
        +2ms
        a.2 begins => waits
        a.1 pauses => idle, wake a.2
        a.2 begins
        a.1 begins => waits
        +2ms
        # a has had 7/3
        a.2 pauses => idle, wake b.1
    ";

    fair_gives_a_new_job_no_credit_for_the_time_before_it_came: 1, [Fair], "
        job a batch
        a.1 begins
        +100ms
        # The old job is without a task just now.
        a.1 ends
        job b batch
        b.1 begins
        +1ms
        a.2 begins => waits
        b.2 begins => waits
        b.1 pauses => idle, wake a.2
    ";

    static_keeps_slots_for_each_class: 4, [Static], "
        set stream_slots 1
        job b batch
        job s stream
        b.1 b.2 b.3 begin
        b.4 begins => waits
        s.1 begins => runs
        s.2 begins => waits
        b.1 ends   => wake b.4
        s.1 ends   => wake s.2
    ";

    static_divides_nothing_where_there_is_one_slot: 1, [Static], "
        job b batch
        job s stream
        b.1 begins
        b.2 begins => waits
        s.1 begins => waits
        b.1 ends   => wake s.1
    ";

    priority_lets_streams_go_first_and_interrupts_nobody: 1, [Priority], "
        job b batch
        job c batch priority=1
        job s stream
        b.1 begins
        b.2 c.1 begin => waits, waits
        s.1 begins => waits
        b.1 pauses => idle, wake s.1
        s.1 begins
        s.1 ends   => wake c.1
        c.1 begins
        c.1 ends   => wake b.2
    ";

    kill_cancels_the_job_in_the_way: 1, [Kill], "
        job b batch
        job s stream
        b.1 begins
        s.1 begins => runs, kill b.1 for stream
        b.1 ends
        job n batch
        n.1 begins => waits
        s.1 ends   => wake n.1
    ";

    kill_spares_jobs_that_cannot_run_again: 2, [Kill], "
        job b batch unkillable
        job c batch
        job s stream
        c.1 b.1 begin
        s.1 begins => runs, kill c.1 for stream
        s.2 begins => runs
    ";

    no_more_jobs_are_killed_than_slots_are_missing: 3, [Kill], "
        job a batch
        job b batch
        job p batch
        b.1 begins
        +1ms
        a.1 a.2 begin
        p.1 p.2 begin => waits, waits
        priority p 1  => kill a.1 for priority
    ";

    killing_a_job_brings_all_its_slots_back: 3, [Kill], "
        job a batch
        job b batch
        job s stream
        b.1 a.1 begin
        +1ms
        a.2 begins
        s.1 begins => runs, kill a.2 for stream
        # The second slot is already on its way.
        s.2 begins => runs
        s.3 begins => runs, kill b.1 for stream
    ";

    a_new_policy_judges_the_queue_anew: 1, [Fifo, Fair, Priority, Static], "
        job b batch
        job s stream
        b.1 begins
        s.1 begins     => waits
        policy neptune => wake s.1, preempt b.1 for stream
        s.1 begins     => runs
        b.1 pauses     => suspended after 0ms
        policy fifo
        s.1 ends       => wake b.1
    ";

    a_new_policy_lends_slots_that_were_reserved: 2, [Static], "
        job b batch
        b.1 begins
        b.2 begins  => waits
        policy fair => wake b.2
    ";

    a_new_policy_preempts_for_priorities_too: 1, [Priority], "
        job a batch
        job b batch priority=1
        a.1 begins
        b.1 begins     => waits
        policy neptune => preempt a.1 for priority
    ";

    a_policy_without_preemption_leaves_requests_standing: 1, [Neptune], "
        job b batch
        job s stream
        b.1 begins
        s.1 begins => runs, preempt b.1 for stream
        policy fifo
        b.1 pauses => suspended after 0ms
        s.2 begins => waits
        s.1 ends   => wake b.1
    ";
}
