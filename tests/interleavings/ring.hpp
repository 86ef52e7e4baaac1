// The driver's own queue, ring and interrupt handling (drivers/block/queue.hpp, drivers/virtio/virtqueue.hpp)
// as a scenario of the checker, with a device written from the specification.
#pragma once

#include "checker.hpp"

#include <memory>

namespace inflight::interleavings {

struct ring_options {
    bool packed;
    bool event_idx;
    bool handled_elsewhere; // the interrupt is taken by another hart than the one that has the queue
    unsigned requests;
};

std::unique_ptr<scenario> make_ring(ring_options, bool handler_looks_first);

// A look at a queue from another hart, without any interrupt, while its own goes to sleep.
std::unique_ptr<scenario> make_look();

} // namespace inflight::interleavings
