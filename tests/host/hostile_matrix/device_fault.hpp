// The fault of one run: what the device does when it strikes.
#pragma once

#include "tests/host/hostile_matrix/axes.hpp"
#include "tests/host/hostile_matrix/trigger.hpp"

namespace inflight::test::hostile {

class device_fault {
  public:
    device_fault(const run& it, world& w, trigger& at) : it_{it}, world_{w}, trigger_{at} {}

    void strike();
    bool has_struck() const { return struck_; }

  private:
    virtio_blk_model& device() { return world_.model(); }
    void strike_at_used_ring();
    void strike_at_completion();
    void complete_one(fault what) {
        device().inject(what);
        device().release(1);
    }

    const run& it_;
    world& world_;
    trigger& trigger_;
    bool struck_ = false;
};

} // namespace inflight::test::hostile
