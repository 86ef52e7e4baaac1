// What is counted over the seeds.
#pragma once

#include <cstdint>

namespace inflight::simulation {

struct totals {
    std::uint64_t seeds = 0, harts = 0, steps = 0, switches = 0, interrupts = 0, software_interrupts = 0;
    std::uint64_t requests = 0, failed_requests = 0, sent = 0, hops = 0, sleeps = 0, resets = 0;
    std::uint64_t stops = 0, cancelled = 0, timed_out = 0, lost_interrupts = 0, lies = 0;
    std::uint64_t lost_notifications = 0;

    void add(const totals& other) {
        seeds += other.seeds;
        harts += other.harts;
        steps += other.steps;
        switches += other.switches;
        interrupts += other.interrupts;
        software_interrupts += other.software_interrupts;
        requests += other.requests;
        failed_requests += other.failed_requests;
        sent += other.sent;
        hops += other.hops;
        sleeps += other.sleeps;
        resets += other.resets;
        stops += other.stops;
        cancelled += other.cancelled;
        timed_out += other.timed_out;
        lost_interrupts += other.lost_interrupts;
        lost_notifications += other.lost_notifications;
        lies += other.lies;
    }
};

} // namespace inflight::simulation
