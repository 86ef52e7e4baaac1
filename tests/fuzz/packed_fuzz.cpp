// The driver's side of a packed ring (drivers/virtio/packed_virtqueue.hpp, packed_slot_table.hpp) against a device whose
// every byte comes from the fuzzer.
//
// The input is a program: the driver makes chains available, publishes, asks for interrupts, and takes what is used; in
// between, the device writes what it likes to the ring and to its event suppression. What the driver has is kept here a
// second time. So, for every input:
//   a chain is taken only while it is in flight and published, and once;
//   no more is taken than was published, and all that is in flight can be taken back;
//   a free slot is never one that is in flight, and where the device was honest, nothing of a batch that is not published
//     looks available;
//   an honest device, which has been reset, gets all chains and gives all of them back.
#include "drivers/virtio/packed_slot_table.hpp"

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <vector>

namespace {

using namespace inflight;

void require(bool condition, const char* what) {
    if (!condition) {
        std::fprintf(stderr, "packed_fuzz: %s\n", what);
        std::abort();
    }
}

class input {
  public:
    input(const std::uint8_t* data, std::size_t size) : at_{data}, end_{data + size} {}
    bool empty() const { return at_ == end_; }
    std::uint8_t byte() { return empty() ? std::uint8_t{0} : *at_++; }
    std::uint64_t bytes(unsigned count) {
        std::uint64_t value = 0;
        for (unsigned i = 0; i < count; ++i)
            value |= std::uint64_t{byte()} << 8 * i;
        return value;
    }

  private:
    const std::uint8_t* at_;
    const std::uint8_t* end_;
};

constexpr std::uint64_t flag_write = std::uint64_t{2} << 48, flag_indirect = std::uint64_t{4} << 48;
constexpr std::uint64_t flag_avail = std::uint64_t{0x80} << 48, flag_used = std::uint64_t{0x8000} << 48;
constexpr unsigned most_chains = 8;

struct buffer_slot : virtio::slot_base<buffer_slot> {
    int shape = -1;
};

struct static_memory final : dma_memory {
    std::byte* allocate(std::size_t size, std::size_t alignment) noexcept override {
        taken = (taken + alignment - 1) & ~(alignment - 1);
        std::byte* const start = bytes + taken;
        taken += size;
        return taken <= sizeof bytes ? start : nullptr;
    }
    alignas(4096) std::byte bytes[16384];
    std::size_t taken = 0;
};

class session {
  public:
    explicit session(input& in) : in_{in} {
        const std::uint8_t shape = in_.byte();
        chains_ = static_cast<std::uint16_t>(1 + shape % most_chains);
        event_idx_ = (shape & 0x10) != 0;
        require(table_.allocate(memory_, chains_, 48 | flag_indirect, 1), "no memory");
        begin();
    }

    void run() {
        while (!in_.empty()) {
            switch (in_.byte() % 8) {
            case 0:
            case 1: give(); break;
            case 2: publish(); break;
            case 3: drain(); break;
            case 4: lie(); break;
            case 5:
            case 6: use_next(); break;
            default: rarely(); break;
            }
        }
        reset();
        for (unsigned lap = 0; lap < 2; ++lap) {
            while (!table_.full())
                give();
            publish();
            for (const std::uint16_t id : std::set<std::uint16_t>{published_})
                use(id, flag_write); // the last one drains
            require(honest_ && table_.in_flight(ring_) == 0, "an honest device has used all, and not all was taken");
        }
    }

  private:
    struct descriptor {
        std::uint64_t address;
        std::uint64_t word;
    };

    void begin() {
        ring_.lay_out(ring_bytes(), chains_, 1, event_idx_);
        table_.clear_free(ring_);
        require(table_.full(), "a slot is free before all are");
        table_.free_all(ring_, [](buffer_slot& each) { each.shape = 1; });
        published_.clear();
        unpublished_.clear();
        said_used_.clear();
        position_ = used_ = 0;
        honest_ = true;
    }

    void give() {
        if (table_.full())
            return;
        const bool is_quick = table_.front().shape == 1;
        buffer_slot& given = is_quick                      ? table_.take()
                             : table_.is_between_batches() ? table_.take_batch_front()
                                                           : table_.take_any(ring_);
        require(given.shape == 1, "a slot that is none");
        const std::uint64_t word = table_.word_of(given);
        if (is_quick) {
            given.place->address.store(given.id);
            given.place->word.store(word);
        } else {
            ring_.store_single(*given.place, given.id, word);
        }
        const std::uint64_t length = 1 + given.id % 2;
        given.expected = given.word() + length - 1 + (given.id % 4 == 3 ? buffer_slot::irregular : 0);
        require(!published_.contains(given.id) && unpublished_.insert(given.id).second, "a slot is free and in flight");
        if (!has_written_) {
            descriptor first{};
            std::memcpy(&first, at(first_unpublished_), sizeof first);
            const bool wrap = first_unpublished_ / chains_ % 2 == 0;
            require((first.word & (flag_avail | flag_used)) != (wrap ? flag_avail : flag_used),
                    "a batch looks available that was not published");
        }
        ++position_;
    }

    void publish() {
        table_.publish(ring_);
        static_cast<void>(ring_.publish_would_notify());
        static_cast<void>(ring_.publish());
        published_.merge(unpublished_);
        unpublished_.clear();
        first_unpublished_ = position_;
    }

    void drain() {
        using checked = virtio::packed_slot_table<buffer_slot>::checked;
        const auto taken = [this](std::uint16_t id) {
            require(published_.erase(id) == 1, "a chain is taken that the device does not have");
            said_used_.erase(id);
            ++used_;
        };
        for (bool more = true; more && honest_;) {
            more = table_.take_expected(ring_, [&](const buffer_slot& each) {
                if (each.id == 2)
                    return false;
                taken(each.id);
                return true;
            });
            switch (table_.take_checked(ring_, [&](const buffer_slot& each, std::uint32_t length, bool reserved) {
                if (!reserved && length > each.expected_length())
                    return false;
                taken(each.id);
                return true;
            })) {
            case checked::nothing: break;
            case checked::authentic: more = true; break;
            case checked::violation: honest_ = false; break;
            }
        }
        if (!honest_) { // as a driver does it
            require(has_written_, "an honest device is accused");
            reset();
        }
    }

    void reset() {
        std::set<std::uint16_t> in_flight = published_;
        in_flight.merge(unpublished_);
        ring_.lay_out(ring_bytes(), chains_, 1, event_idx_);
        table_.clear_free(ring_);
        table_.take_back([&](const buffer_slot& each, std::uint32_t) {
            require(in_flight.erase(each.id) == 1, "a chain is taken back that is not in flight");
        });
        require(in_flight.empty(), "not all is taken back");
        begin();
        has_written_ = false;
        first_unpublished_ = 0;
    }

    void rarely() {
        switch (in_.byte() % 5) {
        case 0: table_.begin_run(ring_, 1 + in_.byte() % (chains_ + 1)); break;
        case 1:
            table_.catch_up(ring_);
            static_cast<void>(ring_.enable_interrupts());
            ring_.disable_interrupts();
            break;
        case 2:
            table_.grow_older(3, in_.byte(), [&](const buffer_slot& each) {
                require(published_.contains(each.id) || unpublished_.contains(each.id), "what is free starves");
            });
            break;
        case 3: reset(); break;
        default: {
            const auto event = static_cast<std::uint32_t>(in_.bytes(4));
            std::memcpy(ring_bytes() + virtio::packed_layout::of(chains_).device_event, &event, sizeof event);
        }
        }
    }

    std::byte* ring_bytes() { return reinterpret_cast<std::byte*>(bytes_.data()); }
    std::byte* at(std::size_t position) { return ring_bytes() + sizeof(descriptor) * (position % chains_); }

    // Anything, anywhere.
    void lie() {
        has_written_ = true;
        const std::size_t where = in_.byte() % chains_;
        descriptor its{};
        std::memcpy(&its, at(where), sizeof its);
        const std::uint8_t what = in_.byte();
        if ((what & 1) != 0)
            its.word ^= flag_used;
        if ((what & 2) != 0)
            its.word ^= flag_avail;
        if ((what & 4) != 0)
            its.word = (its.word & ~(std::uint64_t{0xffff} << 32)) | std::uint64_t{in_.byte()} << 32;
        if ((what & 8) != 0)
            its.word = in_.bytes(8);
        if ((what & 16) != 0)
            its.address = in_.bytes(8);
        std::memcpy(at(where), &its, sizeof its);
    }

    // Used as it should be, one that is in flight.
    void use_next() {
        if (said_used_.size() == published_.size() || has_written_)
            return;
        std::vector<std::uint16_t> left;
        for (const std::uint16_t id : published_)
            if (!said_used_.contains(id))
                left.push_back(id);
        const std::uint8_t how = in_.byte();
        use(left[how % left.size()], (how & 0x80) != 0 ? flag_write : 0);
    }
    void use(std::uint16_t id, std::uint64_t flags) {
        const std::size_t position = used_ + said_used_.size();
        const bool wrap = position / chains_ % 2 == 0;
        const std::uint64_t word =
            (1 + id % 2) | std::uint64_t{id} << 32 | flags | (wrap ? flag_avail | flag_used : std::uint64_t{0});
        std::memcpy(at(position) + 8, &word, sizeof word);
        said_used_.insert(id);
        if (said_used_.size() == published_.size())
            drain();
    }

    input& in_;
    static_memory memory_;
    alignas(64) std::array<std::uint64_t, 64> bytes_{};
    virtio::packed_virtqueue ring_;
    virtio::packed_slot_table<buffer_slot> table_;
    std::uint16_t chains_ = 1;
    bool event_idx_ = false;

    std::set<std::uint16_t> published_, unpublished_; // ids in flight
    std::set<std::uint16_t> said_used_;               // of those published, by a device that was honest until now
    std::size_t position_ = 0;                        // of the next chain, since the last reset
    std::size_t first_unpublished_ = 0;
    std::size_t used_ = 0;
    bool has_written_ = false; // the device, what it should not
    bool honest_ = true;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static arch::host::machine machine; // for the fences
    input in{data, size};
    session{in}.run();
    return 0;
}
