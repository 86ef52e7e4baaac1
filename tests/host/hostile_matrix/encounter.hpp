// One run of a cell: a device, its fault, and the driver in a state.
#pragma once

#include "tests/host/hostile_matrix/axes.hpp"
#include "tests/host/hostile_matrix/device_fault.hpp"
#include "tests/host/hostile_matrix/trigger.hpp"
#include "tests/host/request_group.hpp"

namespace inflight::test::hostile {

setup make_setup(const run& it);

class encounter {
  public:
    explicit encounter(const run& it);

    // Whether the fault has struck.
    bool go();

  private:
    virtio_blk_model& device() { return world_.model(); }
    bool begin();
    void reach_state();
    void end_all();

    const run& it_;
    world world_;
    ticks limit_;
    request_group requests_;
    trigger trigger_;
    device_fault fault_;
};

} // namespace inflight::test::hostile
