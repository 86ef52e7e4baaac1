#include "ring.hpp"

#include "drivers/block/disk.hpp"
#include "tests/host/mute_device.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <utility>

namespace inflight::interleavings {

namespace {

using test::mute_device;

// Makes a mute device offer VIRTIO_F_EVENT_IDX, or not.
void offer(mute_device& device, bool event_idx) {
    device.features = virtio::feature::version_1 | (event_idx ? virtio::feature::event_idx : 0);
}

// The same memory in every execution, as addresses are part of what is compared.
alignas(4096) std::byte device_bytes[32 * 1024];
alignas(64) std::byte frame_bytes[16 * 1024];
alignas(512) std::byte buffer[512];

class static_memory final : public dma_memory {
  public:
    std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
        taken_ = (taken_ + alignment - 1) & ~(alignment - 1);
        std::byte* const start = device_bytes + taken_;
        taken_ += bytes;
        return taken_ <= sizeof device_bytes ? start : nullptr;
    }

  private:
    std::size_t taken_ = 0;
};

// Hart 0 has the queue, hart 1 is the device, and hart 2, if there is one, takes its interrupts.
class ring_scenario final : public scenario {
  public:
    ring_scenario(ring_options options, bool handler_looks_first)
        : options_{options}, handler_looks_first_{handler_looks_first}, disk_{device_} {
        offer(device_, options.event_idx);
        require(disk_.start(memory_, {.queues = 1, .queue_size = 8}) == virtio::error::none, "the disk does not start");
        for (std::size_t i = 0; i < options_.requests; ++i) {
            requests_[i].emplace(block::virtio_blk::request_type::in, i, buffer, sizeof buffer);
            requests_[i]->begin(block::operation_state::whole_in_flight);
        }
        avail_ = at<std::byte>(device_.where.driver_area);
        used_ = at<std::byte>(device_.where.device_area);
        avail_index_ = reinterpret_cast<half*>(avail_ + 2);
        avail_flags_ = reinterpret_cast<half*>(avail_);
        used_event_ = reinterpret_cast<half*>(avail_ + 4 + std::size_t{2} * device_.queue_size);
        used_index_ = reinterpret_cast<half*>(used_ + 2);
        used_flags_ = reinterpret_cast<half*>(used_);
        avail_event_ = reinterpret_cast<half*>(used_ + 4 + std::size_t{8} * device_.queue_size);
        for (half* const each : {avail_index_, avail_flags_, used_event_, used_index_, used_flags_, avail_event_}) {
            share(each, sizeof *each);
        }
    }

    unsigned harts() const override { return options_.handled_elsewhere ? 3 : 2; }

    void run(unsigned hart) override {
        switch (hart) {
        case 0: own(); break;
        case 1: serve(); break;
        default:
            while (!is_over()) {
                static_cast<void>(arch::mask_interrupts());
                if (!is_over()) {
                    arch::wait_for_interrupt();
                }
                arch::restore_interrupts(true);
            }
        }
    }

    // As disk::handle_line() and channel::interrupted().
    void interrupted(unsigned hart, cause reason) override {
        if (hart == 1 || reason == cause::software) {
            acknowledge(reason);
            return;
        }
        bool found = false;
        if (handler_looks_first_) {
            found = ring().interrupted();
        }
        acknowledge_by_register(reason);
        arch::fence_acknowledge();
        if (!handler_looks_first_) {
            found = ring().interrupted();
        }
        if (found && hart != 0) { // as channel::wake(): a message, which passes on the mark
            static_cast<void>(woken_.exchange(true, std::memory_order_release));
            arch::interrupt_hart(0);
        }
    }

    void at_end() override {
        for (std::size_t i = 0; i < options_.requests; ++i) {
            require(requests_[i]->result == block::status::ok, "a request has not ended well");
        }
    }

  private:
    // The device reads and writes all of it, and keeps to no side.
    using half = virtio::device_written<std::uint16_t>;
    using word = virtio::device_written<std::uint32_t>;
    struct descriptor {
        virtio::device_written<std::uint64_t> address;
        word length;
        half flags;
        half next;
    };

    template <typename T>
    static T* at(std::uint64_t address) {
        return reinterpret_cast<T*>(static_cast<std::uintptr_t>(address));
    }
    bool is_over() { return over_.fetch_or(false, std::memory_order_relaxed); } // the last store, whoever asks
    // As the executor looks into its inbox.
    bool take_message() { return options_.handled_elsewhere && woken_.exchange(false, std::memory_order_acquire); }
    virtio::virtqueue& ring() { return queue().ring(); }
    block::queue& queue() { return disk_.unsafe_queue(0); }

    // Like channel::publish(), poll() and arm_and_publish(), and executor::sleep(). Only the last request is published
    // together with a request for an interrupt.
    void own() {
        unsigned submitted = 0;
        while (submitted < options_.requests || queue().in_flight() != 0) {
            if (submitted < options_.requests) {
                if (!queue().full()) {
                    queue().submit_whole(*requests_[submitted]);
                    ++submitted;
                }
            }
            if (submitted < options_.requests) {
                publish();
            }
            static_cast<void>(take_message());
            if (!ring().armed()) {
                require(queue().drain(executor_) != block::queue::drained::protocol_violation, "a false alarm");
            }
            if (submitted < options_.requests || queue().in_flight() == 0) {
                continue;
            }
            static_cast<void>(arch::mask_interrupts());
            if (!arm_and_publish() && !take_message()) {
                arch::wait_for_interrupt();
            }
            arch::restore_interrupts(true);
        }
        if (options_.handled_elsewhere) {
            over_.store(true, std::memory_order_relaxed);
            arch::interrupt_hart(2);
        }
    }

    void notify() {
        arch::fence_doorbell();
        ring_doorbell(1);
    }
    void publish() {
        if (ring().has_unpublished() && queue().publish()) {
            notify();
        }
    }
    bool arm_and_publish() {
        if (const std::size_t available = ring().split().available(); ring().wants_arm_and_publish_split(available)) {
            return queue().arm_and_publish_split(available, [this] { notify(); });
        }
        const bool work = ring().arm();
        publish();
        return work;
    }

    // VIRTIO 1.2, 2.7.7 and 2.7.8, from the other side.
    void serve() {
        static_cast<void>(arch::mask_interrupts()); // a doorbell ends its wait
        const unsigned target = options_.handled_elsewhere ? 2 : 0;
        std::uint16_t done = 0;
        bool asked = false; // for a doorbell, since the last request
        while (done < options_.requests) {
            if (avail_index_->load() == done) {
                if (!std::exchange(asked, true)) {
                    ask_for_doorbell(done); // and look once more
                } else {
                    arch::wait_for_interrupt();
                    acknowledge(cause::external);
                }
                continue;
            }
            asked = false;
            arch::fence_consume();
            const auto* const entries = reinterpret_cast<const half*>(avail_ + 4);
            const std::uint16_t head = entries[done % device_.queue_size].load();
            require(head < device_.queue_size, "an entry that is none");
            auto* const table = at<descriptor>(device_.where.descriptors);
            std::uint16_t last = head;
            while ((table[last].flags.load() & virtio::descriptor_flag::next) != 0) {
                last = table[last].next.load();
            }
            at<virtio::device_written<std::uint8_t>>(table[last].address.load())->preset(0);
            auto* const element = reinterpret_cast<word*>(used_ + 4 + std::size_t{8} * (done % device_.queue_size));
            element[0].preset(head);
            element[1].preset(sizeof buffer + 1);
            arch::fence_publish();
            used_index_->preset(++done);
            arch::fence_full();
            const bool wanted = options_.event_idx ? used_event_->load() == static_cast<std::uint16_t>(done - 1)
                                                   : (avail_flags_->load() & virtio::avail_no_interrupt) == 0;
            if (wanted) {
                raise(target, cause::external);
            }
        }
    }

    void ask_for_doorbell(std::uint16_t seen) {
        if (options_.event_idx) {
            avail_event_->preset(seen);
        } else {
            used_flags_->preset(0);
        }
        arch::fence_full();
    }

    ring_options options_;
    bool handler_looks_first_;
    static_memory memory_;
    async::executor executor_{frame_bytes};
    mute_device device_;
    block::disk disk_;
    std::array<std::optional<block::operation>, 3> requests_;
    arch::atomic<bool> over_{false};
    arch::atomic<bool> woken_{false};
    std::byte* avail_ = nullptr;
    std::byte* used_ = nullptr;
    half* avail_index_ = nullptr;
    half* avail_flags_ = nullptr;
    half* used_event_ = nullptr;
    half* used_index_ = nullptr;
    half* used_flags_ = nullptr;
    half* avail_event_ = nullptr;
};

// Hart 0 asks for an interrupt and is about to sleep. The device then completes a request without an interrupt. Hart 2
// checks for completions: if it sees the completion, it must also see that hart 0 has asked.
class looking final : public scenario {
  public:
    looking() {
        offer(device_, true);
        require(disk_.start(memory_, {.queues = 1, .queue_size = 8}) == virtio::error::none, "the disk does not start");
        used_index_ = reinterpret_cast<virtio::device_written<std::uint16_t>*>(
            static_cast<std::uintptr_t>(device_.where.device_area + 2));
        share(used_index_, sizeof *used_index_);
    }

    unsigned harts() const override { return 3; }

    void run(unsigned hart) override {
        virtio::virtqueue& ring = disk_.unsafe_queue(0).ring();
        switch (hart) {
        case 0:
            ring.disarm();
            require(!ring.arm(), "something has completed, and nothing was begun");
            sleeps_.store(true, std::memory_order_relaxed);
            break;
        case 1:
            if (sleeps_.exchange(false, std::memory_order_relaxed)) { // the last store, whoever asks
                used_index_->preset(1);
            }
            break;
        default:
            if (used_index_->load() == 1) {
                require(ring.mark_if_completed(), "it has completed, and the hart that sleeps is not told");
            }
        }
    }

  private:
    static_memory memory_;
    async::executor executor_{frame_bytes};
    mute_device device_;
    block::disk disk_{device_};
    arch::atomic<bool> sleeps_{false};
    virtio::device_written<std::uint16_t>* used_index_ = nullptr;
};

} // namespace

std::unique_ptr<scenario> make_ring(ring_options options, bool handler_looks_first) {
    return std::make_unique<ring_scenario>(options, handler_looks_first);
}

std::unique_ptr<scenario> make_look() {
    return std::make_unique<looking>();
}

} // namespace inflight::interleavings
