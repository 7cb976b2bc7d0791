//! Who is suspended for whom, by policy and by user, and who goes on first.

use super::*;

scripts! {
    a_task_woken_while_no_slot_is_free_queues_without_a_poll: 1, [Neptune], "
        job b batch
        b.1 begins
        b.2 begins => waits
        b.3 wakes  => queued
        b.3 wakes  => queued
        states     => b.1 running, b.2 waiting, b.3 waiting
        b.1 ends   => wake b.2
        b.2 begins
        # The runtime may poll it for reasons of its own.
        b.3 begins => waits
        b.2 pauses => idle, wake b.3
        b.2 wakes  => queued
        b.3 begins
        b.3 ends   => wake b.2
        b.2 begins
        b.2 ends
        b.4 wakes  => polls
        b.4 begins
    ";

    a_task_woken_during_its_poll_goes_on_behind_those_who_wait: 1, [Neptune, Fair], "
        job b batch
        b.1 begins
        b.1 wakes  => queued
        b.1 pauses => idle, wake b.1
        b.1 begins
        b.2 wakes  => queued
        b.1 wakes  => queued
        b.1 pauses => idle, wake b.2
        states     => b.1 waiting, b.2 granted
        b.2 begins
        b.2 pauses => idle, wake b.1
        b.1 begins
        # The wake before this poll is answered by it.
        b.1 pauses => idle
        states     => b.1 idle, b.2 idle
    ";

    a_woken_task_of_a_higher_priority_takes_its_slot_back: 1, [Neptune], "
        job a batch priority=1
        job b batch
        b.1 begins
        +1ms
        a.1 wakes  => queued, preempt b.1 for priority
        b.1 pauses => suspended after 0ms, wake a.1
        a.1 begins
        a.1 wakes  => queued
        a.1 pauses => idle, wake a.1
        states     => a.1 granted, b.1 suspended
    ";

    a_wake_does_not_resume_a_held_or_suspended_task: 1, [Neptune], "
        job b batch
        job s stream
        b.1 begins
        s.1 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        b.1 wakes  => queued
        states     => b.1 suspended, s.1 running
        hold b
        b.1 wakes  => queued
        b.2 wakes  => polls
        b.2 begins => waits, stopped b.2
        states     => b.1 held, b.2 held, s.1 running
    ";

    a_stream_woken_while_streams_hold_every_slot_waits_its_turn: 1, [Neptune], "
        job s stream
        job b batch
        b.1 begins
        s.1 wakes  => polls
        s.1 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        s.2 wakes  => queued
        s.1 wakes  => queued
        s.1 pauses => idle, wake s.2
        s.2 begins
        s.2 ends   => wake s.1
    ";

    a_stream_starts_at_once_and_the_victim_goes_on_after: 1, [Neptune], "
        job b batch
        job s stream
        b.1 begins
        +1ms
        s.1 begins => runs, preempt b.1 for stream
        +2ms
        b.1 pauses => suspended after 2ms
        states     => b.1 suspended, s.1 running
        +1ms
        s.1 ends   => wake b.1
        +3ms
        b.1 begins => runs resumed after 3ms
    ";

    only_as_many_victims_as_slots_are_missing: 3, [Neptune], "
        job b batch
        job s stream
        b.1 b.2 begin
        s.1 begins => runs
        s.2 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        s.3 begins => runs, preempt b.2 for stream
        # No slot is missing: the fourth stream waits for one of its kind.
        s.4 begins => waits
        s.1 ends   => wake s.4
    ";

    the_victim_is_the_one_suspended_least_and_then_the_latest_started: 2, [Neptune], "
        job b batch
        job s stream
        b.1 begins
        +1ms
        b.2 begins
        +1ms
        # b.1's present poll is the later one, but b.2 started later.
        b.1 pauses
        b.1 begins
        s.1 begins => runs, preempt b.2 for stream
        b.2 pauses => suspended after 0ms
        s.1 ends   => wake b.2
        b.2 begins => runs resumed after 0ms
        s.2 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        s.2 ends   => wake b.1
        b.1 begins => runs resumed after 0ms
        s.3 begins => runs, preempt b.2 for stream
    ";

    the_victim_is_of_the_lowest_priority: 2, [Neptune], "
        job a batch priority=1
        job b batch
        job s stream
        b.1 begins
        +1ms
        a.1 begins
        s.1 begins => runs, preempt b.1 for stream
    ";

    a_grant_is_taken_back_before_a_running_task_is_asked: 2, [Neptune], "
        job b batch
        job s stream
        b.1 b.2 begin
        b.3 begins => waits
        b.1 ends   => wake b.3
        s.1 begins => runs
        states     => b.2 running, b.3 waiting, s.1 running
    ";

    a_grant_taken_back_keeps_its_place_in_the_queue: 2, [Neptune], "
        job b batch
        job s stream
        b.1 b.2 begin
        s.1 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        s.2 begins => runs, preempt b.2 for stream
        b.2 pauses => suspended after 0ms
        s.1 ends   => wake b.1
        s.3 begins => runs
        s.3 ends   => wake b.1
    ";

    a_job_suspended_again_before_it_went_on_is_not_stopped_twice: 1, [Neptune, Fifo], "
        job b batch
        hold b
        b.1 begins => waits, stopped b.1
        resume b   => wake b.1
        hold b
        b.1 begins => waits
        resume b   => wake b.1
        b.1 begins => runs resumed after 0ms
    ";

    a_suspended_grant_taken_back_stays_first: 1, [Neptune], "
        job b batch
        job s stream
        b.1 begins
        s.1 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        s.1 ends   => wake b.1
        b.1 begins => runs resumed after 0ms
        s.2 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        s.3 begins => waits
        s.2 ends   => wake s.3
        s.3 ends   => wake b.1
        s.4 begins => runs
        states     => b.1 suspended, s.4 running
        s.4 ends   => wake b.1
    ";

    suspended_tasks_go_before_new_ones: 1, [Neptune], "
        job b batch
        job n batch
        job s stream
        b.1 begins
        s.1 begins => runs, preempt b.1 for stream
        b.2 n.1 begin => waits, waits
        b.1 pauses => suspended after 0ms
        s.1 ends   => wake b.1
        b.1 begins => runs resumed after 0ms
        b.1 ends   => wake b.2
        b.2 begins
        b.2 ends   => wake n.1
    ";

    suspended_jobs_go_before_older_ones: 1, [Neptune], "
        job o batch
        job b batch
        job s stream
        b.1 begins
        s.1 begins => runs, preempt b.1 for stream
        o.1 begins => waits
        b.1 pauses => suspended after 0ms
        s.1 ends   => wake b.1
    ";

    a_victim_that_ends_in_time_is_not_suspended: 1, [Neptune], "
        job b batch
        job s stream
        b.1 begins
        s.1 begins => runs, preempt b.1 for stream
        b.1 ends
        s.1 ends
        b.2 begins => runs
    ";

    a_grant_that_nobody_used_yet_comes_back_at_once: 1, [Neptune, Kill], "
        job b batch
        job c batch
        job s stream
        c.1 begins
        b.1 begins => waits
        c.1 ends   => wake b.1
        s.1 begins => runs
        states     => b.1 waiting, s.1 running
        b.1 begins => waits
        s.1 ends   => wake b.1
        b.1 begins => runs
    ";

    a_queued_stream_does_not_wait_for_a_victim: 1, [Neptune], "
        job b batch
        job s stream
        b.1 begins
        s.1 begins => runs, preempt b.1 for stream
        s.2 begins => waits
        # b.1 is in a long poll.
        s.1 ends   => wake s.2
        s.2 begins => runs
        b.1 pauses => suspended after 0ms
    ";

    a_higher_priority_suspends_a_lower_one_of_the_same_class: 1, [Neptune], "
        job a batch
        job b batch priority=1
        a.1 begins
        a.2 begins => waits
        b.1 begins => waits, preempt a.1 for priority
        a.1 pauses => suspended after 0ms, wake b.1
        b.1 begins
        a.3 begins => waits
        b.1 ends   => wake a.1
    ";

    each_task_of_higher_priority_gets_a_victim: 2, [Neptune], "
        job a batch
        job b batch priority=1
        a.1 a.2 begin
        b.1 begins => waits, preempt a.1 for priority
        b.2 begins => waits, preempt a.2 for priority
        b.3 begins => waits
        a.1 pauses => suspended after 0ms, wake b.1
        a.2 pauses => suspended after 0ms, wake b.2
    ";

    a_raised_priority_acts_at_once: 1, [Neptune], "
        job a batch
        job b batch
        a.1 begins
        b.1 begins   => waits
        priority b 1 => preempt a.1 for priority
        a.1 pauses   => suspended after 0ms, wake b.1
    ";

    equal_priorities_do_not_interrupt_each_other: 1, [Neptune, Kill], "
        job a batch
        job b batch
        job s stream
        job t stream
        a.1 begins
        b.1 begins => waits
        a.1 ends   => wake b.1
        b.1 begins
        b.1 ends
        s.1 begins
        t.1 begins => waits
    ";

    after_too_many_suspensions_a_task_is_left_alone_for_a_while: 1, [Neptune], "
        set max_suspensions 1
        set grace 5ms
        job b batch
        job s stream
        b.1 begins
        s.1 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        s.1 ends   => wake b.1
        b.1 begins => runs resumed after 0ms
        s.2 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        s.2 ends   => wake b.1
        # The second suspension was one too many: no request, and no grant taken back.
        s.3 begins => runs
        s.3 ends
        +4ms
        b.1 begins => runs resumed after 4ms
        s.4 begins => runs
        s.4 ends
        +1ms
        s.5 begins => runs, preempt b.1 for stream
    ";

    the_end_of_a_grace_is_noticed: 1, [Neptune], "
        set max_suspensions 0
        set grace 2ms
        job b batch
        job p batch priority=1
        job s stream
        b.1 begins
        s.1 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        s.1 ends   => wake b.1
        b.1 begins => runs resumed after 0ms
        s.2 begins => runs
        next tick  => in 2ms
        +2ms
        tick       => preempt b.1 for stream
    ";

    the_end_of_a_grace_is_noticed_for_priorities: 1, [Neptune], "
        set max_suspensions 0
        set grace 2ms
        job b batch
        job p batch priority=1
        job s stream
        b.1 begins
        s.1 begins => runs, preempt b.1 for stream
        b.1 pauses => suspended after 0ms
        s.1 ends   => wake b.1
        b.1 begins => runs resumed after 0ms
        p.1 begins => waits
        next tick  => in 2ms
        +2ms
        tick       => preempt b.1 for priority
        next tick  => none
    ";

    a_user_suspends_a_job_in_every_state: 2, [Fifo, Fair, Priority, Kill, Neptune], "
        job a batch
        job b batch
        a.1 b.1 begin
        b.2 b.3 begin => waits, waits
        a.1 ends   => wake b.2
        +1ms
        hold b     => stopped b.3, preempt b.1 for user, stopped b.2
        b.2 begins => waits
        b.4 begins => waits, stopped b.4
        +1ms
        b.1 pauses => suspended after 1ms
        states     => b.1 held, b.2 held, b.3 held, b.4 held
        # Slots of a held job are free for others.
        a.2 a.3 begin
        resume b   => wake b.4, wake b.1, wake b.2, wake b.3
        b.2 begins => waits
        a.2 ends   => wake b.2
        +2ms
        b.2 begins => runs resumed after 2ms
    ";

    a_job_resumed_before_its_yield_point_goes_on_from_there: 1, [Neptune, Fifo], "
        job b batch
        b.1 begins
        hold b     => preempt b.1 for user
        resume b
        b.1 pauses => suspended after 0ms, wake b.1
        b.1 begins => runs resumed after 0ms
    ";

    a_held_job_can_end: 1, [Neptune, Fifo, Kill], "
        job b batch
        b.1 begins
        b.2 begins => waits
        hold b     => stopped b.2, preempt b.1 for user
        b.1 ends
        b.2 ends
        job c batch
        c.1 begins => runs
    ";

    a_resumed_stream_starts_at_once: 1, [Neptune], "
        job s stream
        job b batch
        s.1 begins
        hold s     => preempt s.1 for user
        s.1 pauses => suspended after 0ms
        b.1 begins
        resume s   => wake s.1
        +1ms
        s.1 begins => runs resumed after 1ms, preempt b.1 for stream
    ";

    a_task_resumed_by_its_user_goes_before_new_ones: 1, [Neptune], "
        job s stream
        job b batch
        b.1 begins
        hold b     => preempt b.1 for user
        b.1 pauses => suspended after 0ms
        s.1 begins
        resume b   => wake b.1
        b.2 begins => waits
        b.1 begins => waits
        s.1 ends   => wake b.1
    ";

    a_stream_is_no_victim_while_a_batch_task_runs_whatever_their_priorities: 2, [Neptune], "
        job b batch priority=10
        job s stream
        job u stream priority=5
        b.1 s.1 begin
        u.1 begins => runs, preempt b.1 for stream
    ";

    a_pause_that_is_over_leaves_its_slot_free: 1, [Neptune], "
        set linger 10ms
        job b batch
        job s stream
        s.1 begins
        s.1 pauses => idle
        +20ms
        b.1 begins => runs
    ";
}
