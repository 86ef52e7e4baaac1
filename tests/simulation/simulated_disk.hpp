// A device, the driver for it, and what the device does wrong in this run.
#pragma once

#include "drivers/block/disk.hpp"
#include "drivers/virtio/mmio.hpp"
#include "tests/host/virtio_pci_function.hpp"
#include "tests/model/virtio_blk_model.hpp"
#include "tests/simulation/disk_account.hpp"
#include "tests/simulation/hart_observer.hpp"
#include "tests/simulation/run_context.hpp"

#include <array>
#include <cstdint>
#include <memory>

namespace inflight::simulation {

inline constexpr std::uint64_t disk_sectors = 128;
inline constexpr std::uint64_t sectors_of_each = 8; // worker

// How often the device was given a request, or pieces of it, and how often it has kept it.
struct deliveries {
    std::uint64_t taken = 0, swallowed = 0;
};

struct simulated_disk {
    simulated_disk(run_context&, unsigned number);

    // Of the request under way in the sectors of a worker.
    deliveries& deliveries_at(std::uint64_t sector) { return deliveries_[sector / sectors_of_each]; }
    bool touches_bad(std::uint64_t sector, std::uint64_t count) const;
    std::uint64_t broken_rules() const; // by the device, so far
    void detach();                      // from its interrupt line

    std::unique_ptr<model::virtio_blk_model> model;
    std::unique_ptr<hart_observer> observer;
    std::shared_ptr<virtio::transport> transport;
    std::unique_ptr<block::disk> disk;
    bool may_reset = false, lies = false;
    ticks limit = 0;
    std::uint64_t swallow_after = 0, swallow = 0, swallowed = 0; // requests of the device
    std::uint64_t dead = 0; // requests that timed out while it waited for its reset
    disk_account account;

  private:
    void start();
    bool find();
    bool find_on_pci();
    void route(unsigned line);
    void deliver_messages();
    void choose_behaviour();
    void choose_permitted_behaviour();
    void choose_faults();
    bool swallows(const model::request_view&);
    [[nodiscard]] bool loses_notifications() const;

    run_context& in_;
    std::unique_ptr<test::virtio_pci_function> pci_; // nullptr: on MMIO
    std::array<std::uint64_t, 64> delivered_{};      // interrupts, by queue: see deliver_messages()
    std::array<deliveries, disk_sectors / sectors_of_each> deliveries_{};
};

} // namespace inflight::simulation
