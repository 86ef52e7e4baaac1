// The rules about the order of accesses, by hart.
#pragma once

#include "tests/model/virtio_blk_model.hpp"
#include "tests/simulation/run_context.hpp"

#include <cstdint>
#include <vector>

namespace inflight::simulation {

// The model follows the accesses of a driver on one hart. Of several harts one may be in the middle of something while
// another does something else; so this stands between the machine and the model, and keeps the rules that are about one
// hart's order by hart.
class hart_observer final : public arch::host::observer {
  public:
    hart_observer(machine& host, model::virtio_blk_model& device)
        : host_{host}, device_{device}, acknowledged_(host.harts()) {
        host_.stop_observing(device_);
        host_.observe(*this);
    }
    ~hart_observer() override {
        host_.stop_observing(*this);
        host_.observe(device_);
    }
    hart_observer(const hart_observer&) = delete;
    hart_observer& operator=(const hart_observer&) = delete;

    void on_fence(arch::host::fence_kind kind) override {
        expect_acknowledge_fence(kind == arch::host::fence_kind::acknowledge);
        device_.on_fence(kind);
    }
    void on_mmio_read(std::uintptr_t address, unsigned width) override {
        expect_acknowledge_fence(false);
        device_.on_mmio_read(address, width);
    }
    void on_mmio_write(std::uintptr_t address, unsigned width, std::uint32_t value) override {
        expect_acknowledge_fence(false);
        acknowledged_[host_.selected_hart()] =
            address == device_.configuration().base + model::reg::interrupt_ack && (value & 1) != 0;
        device_.on_mmio_write(address, width, value);
    }
    void on_device_word_read(const void* word) override { device_.on_device_word_read(word); }
    // What a hart has made available, and not yet told of, is its own business while it runs.
    void on_wait_for_interrupt() override {
        expect_acknowledge_fence(false);
        for (hart_index hart = 0; hart < host_.harts(); ++hart) {
            if (hart != host_.selected_hart() && !host_.ended(hart) && !host_.waiting(hart)) {
                return;
            }
        }
        device_.on_wait_for_interrupt();
    }

    static constexpr const char* by_hart = "ACKNOWLEDGE"; // the model's own rule, which is kept here instead

  private:
    void expect_acknowledge_fence(bool it_is) {
        if (acknowledged_[host_.selected_hart()] && !it_is) {
            host_.report("ACKNOWLEDGE FENCE", "something else follows the acknowledgement of an interrupt");
        }
        acknowledged_[host_.selected_hart()] = false;
    }

    machine& host_;
    model::virtio_blk_model& device_;
    std::vector<bool> acknowledged_; // by hart: the fence is due
};

} // namespace inflight::simulation
