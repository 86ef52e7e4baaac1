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

// Makes a mute device offer these rings. Packed ones with indirect descriptors, as a driver uses them.
void offer(mute_device& device, bool packed, bool event_idx) {
    device.features = virtio::feature::version_1 | (event_idx ? virtio::feature::event_idx : 0) |
                      (packed ? virtio::feature::ring_packed | virtio::feature::indirect_desc : 0);
}

// The device reads and writes all of it, and keeps to no side.
using half = virtio::device_written<std::uint16_t>;
using word = virtio::device_written<std::uint32_t>;
using byte = virtio::device_written<std::uint8_t>;

template <typename T>
T* at(std::uint64_t address) {
    return reinterpret_cast<T*>(static_cast<std::uintptr_t>(address));
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
class ring_scenario : public scenario {
  public:
    ring_scenario(ring_options options, bool handler_looks_first)
        : options_{options}, handler_looks_first_{handler_looks_first}, disk_{device_} {
        offer(device_, options.packed, options.event_idx);
        require(disk_.start(memory_, {.queues = 1, .queue_size = 8}) == virtio::error::none, "the disk does not start");
        for (std::size_t i = 0; i < options_.requests; ++i) {
            requests_[i].emplace(block::virtio_blk::request_type::in, i, buffer, sizeof buffer);
            requests_[i]->begin(block::operation_state::whole_in_flight);
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

  protected:
    // The device: takes what is available, and uses it in order.
    virtual void serve() = 0;

    [[nodiscard]] const ring_options& options() const { return options_; }
    [[nodiscard]] const mute_device& device() const { return device_; }
    void interrupt_driver() { raise(options_.handled_elsewhere ? 2 : 0, cause::external); }

    // Waits for a doorbell; asks for it by ask_for_doorbell() first, unless it has since the last request, and then looks
    // once more.
    void wait_for_doorbell(bool& asked) {
        if (!std::exchange(asked, true)) {
            ask_for_doorbell();
            arch::fence_full();
        } else {
            arch::wait_for_interrupt();
            acknowledge(cause::external);
        }
    }
    virtual void ask_for_doorbell() = 0;

  private:
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
        if (options_.packed) {
            if (ring().wants_arm_and_publish_packed()) {
                return queue().arm_and_publish_packed([this] { notify(); });
            }
        } else if (const std::size_t available = ring().split().available();
                   ring().wants_arm_and_publish_split(available)) {
            return queue().arm_and_publish_split(available, [this] { notify(); });
        }
        const bool work = ring().arm();
        publish();
        return work;
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
};

// VIRTIO 1.2, 2.7.7 and 2.7.8, from the other side.
class split_ring_scenario final : public ring_scenario {
  public:
    split_ring_scenario(ring_options options, bool handler_looks_first) : ring_scenario{options, handler_looks_first} {
        avail_ = at<std::byte>(device().where.driver_area);
        used_ = at<std::byte>(device().where.device_area);
        avail_index_ = reinterpret_cast<half*>(avail_ + 2);
        avail_flags_ = reinterpret_cast<half*>(avail_);
        used_event_ = reinterpret_cast<half*>(avail_ + 4 + std::size_t{2} * device().queue_size);
        used_index_ = reinterpret_cast<half*>(used_ + 2);
        used_flags_ = reinterpret_cast<half*>(used_);
        avail_event_ = reinterpret_cast<half*>(used_ + 4 + std::size_t{8} * device().queue_size);
        for (half* const each : {avail_index_, avail_flags_, used_event_, used_index_, used_flags_, avail_event_}) {
            share(each, sizeof *each);
        }
    }

  private:
    struct descriptor {
        virtio::device_written<std::uint64_t> address;
        word length;
        half flags;
        half next;
    };

    void serve() override {
        static_cast<void>(arch::mask_interrupts()); // a doorbell ends its wait
        bool asked = false;                         // for a doorbell, since the last request
        while (done_ < options().requests) {
            if (avail_index_->load() == done_) {
                wait_for_doorbell(asked);
                continue;
            }
            asked = false;
            arch::fence_consume();
            const auto* const entries = reinterpret_cast<const half*>(avail_ + 4);
            const std::uint16_t head = entries[done_ % device().queue_size].load();
            require(head < device().queue_size, "an entry that is none");
            auto* const table = at<descriptor>(device().where.descriptors);
            std::uint16_t last = head;
            while ((table[last].flags.load() & virtio::descriptor_flag::next) != 0) {
                last = table[last].next.load();
            }
            at<byte>(table[last].address.load())->preset(0);
            auto* const element = reinterpret_cast<word*>(used_ + 4 + std::size_t{8} * (done_ % device().queue_size));
            element[0].preset(head);
            element[1].preset(sizeof buffer + 1);
            arch::fence_publish();
            used_index_->preset(++done_);
            arch::fence_full();
            const bool wanted = options().event_idx ? used_event_->load() == static_cast<std::uint16_t>(done_ - 1)
                                                    : (avail_flags_->load() & virtio::avail_no_interrupt) == 0;
            if (wanted) {
                interrupt_driver();
            }
        }
    }

    void ask_for_doorbell() override {
        if (options().event_idx) {
            avail_event_->preset(done_);
        } else {
            used_flags_->preset(0);
        }
    }

    std::uint16_t done_ = 0;
    std::byte* avail_ = nullptr;
    std::byte* used_ = nullptr;
    half* avail_index_ = nullptr;
    half* avail_flags_ = nullptr;
    half* used_event_ = nullptr;
    half* used_index_ = nullptr;
    half* used_flags_ = nullptr;
    half* avail_event_ = nullptr;
};

// VIRTIO 1.2, 2.8, from the other side, in the first lap of a ring of indirect descriptors. Length, id and flags are one
// word: length in bits 0 to 31, id in 32 to 47, flags above.
struct packed_words {
    virtio::device_written<std::uint64_t> address;
    virtio::device_written<std::uint64_t> word;
};
constexpr std::uint64_t packed_write = std::uint64_t{2} << 48;
constexpr std::uint64_t packed_avail = std::uint64_t{0x80} << 48;
constexpr std::uint64_t packed_used = std::uint64_t{0x8000} << 48;
constexpr std::uint64_t packed_id = std::uint64_t{0xffff} << 32;
constexpr std::uint32_t event_disable = 1 << 16;
constexpr std::uint32_t event_at_descriptor = 2 << 16;
constexpr std::uint32_t event_wrap = 0x8000;

class packed_ring_scenario final : public ring_scenario {
  public:
    packed_ring_scenario(ring_options options, bool handler_looks_first) : ring_scenario{options, handler_looks_first} {
        ring_ = at<packed_words>(device().where.descriptors);
        driver_event_ = at<word>(device().where.driver_area);
        device_event_ = at<word>(device().where.device_area);
        for (unsigned i = 0; i <= options.requests; ++i) {
            share(&ring_[i].word, sizeof ring_[i].word);
        }
        share(driver_event_, sizeof *driver_event_);
        share(device_event_, sizeof *device_event_);
    }

  private:
    struct descriptor {
        virtio::device_written<std::uint64_t> address;
        word length;
        word id_and_flags;
    };

    // Without EVENT_IDX, it says of the last request that it has written nothing, which is not what is expected of a
    // read, and means nothing (2.8.4).
    void serve() override {
        static_cast<void>(arch::mask_interrupts()); // a doorbell ends its wait
        bool asked = false;                         // for a doorbell, since the last request
        while (done_ < options().requests) {
            const std::uint64_t said = ring_[done_].word.load();
            if ((said & (packed_avail | packed_used)) != packed_avail) {
                wait_for_doorbell(asked);
                continue;
            }
            asked = false;
            arch::fence_consume();
            require((said >> 48 & virtio::descriptor_flag::indirect) != 0, "a descriptor that points to no table");
            const auto* const table = at<const descriptor>(ring_[done_].address.load());
            const std::size_t entries = static_cast<std::uint32_t>(said) / sizeof(descriptor);
            require(entries == 3, "a table that is no read's");
            at<byte>(table[entries - 1].address.load())->preset(0);
            const bool writes = options().event_idx || done_ + 1 < options().requests;
            arch::fence_publish();
            ring_[done_].word.preset((said & packed_id) | packed_avail | packed_used |
                                     (writes ? packed_write | (sizeof buffer + 1) : 0));
            ++done_;
            arch::fence_full();
            const std::uint32_t event = driver_event_->load();
            const bool wanted = options().event_idx && (event & event_at_descriptor) != 0
                                    ? event == (event_at_descriptor | event_wrap | (done_ - 1))
                                    : (event & event_disable) == 0;
            if (wanted) {
                interrupt_driver();
            }
        }
    }

    void ask_for_doorbell() override {
        device_event_->preset(options().event_idx ? event_at_descriptor | event_wrap | done_ : 0);
    }

    std::uint32_t done_ = 0;
    packed_words* ring_ = nullptr;
    word* driver_event_ = nullptr;
    word* device_event_ = nullptr;
};

// A split ring. Hart 0 asks for an interrupt and is about to sleep. The device then completes a request without an interrupt. Hart 2
// checks for completions: if it sees the completion, it must also see that hart 0 has asked.
class looking final : public scenario {
  public:
    looking() {
        offer(device_, false, true);
        require(disk_.start(memory_, {.queues = 1, .queue_size = 8}) == virtio::error::none, "the disk does not start");
        used_index_ = at<half>(device_.where.device_area + 2);
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
    half* used_index_ = nullptr;
};

} // namespace

std::unique_ptr<scenario> make_ring(ring_options options, bool handler_looks_first) {
    if (options.packed) {
        return std::make_unique<packed_ring_scenario>(options, handler_looks_first);
    }
    return std::make_unique<split_ring_scenario>(options, handler_looks_first);
}

std::unique_ptr<scenario> make_look() {
    return std::make_unique<looking>();
}

} // namespace inflight::interleavings
