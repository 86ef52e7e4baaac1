// The driver (disk, channels, queues, the runtime, two harts) against a device whose every byte comes from the fuzzer.
//
// The input is a program: each of its bytes lets a hart take a step, makes a request, or is something that the device does;
// and at every access to a register and at every fence, a byte decides whether the device does something right then. The
// device writes what it likes to all memory that the driver has allocated for devices (rings, indirect tables, headers, status
// bytes), claims what it likes in its registers and its configuration space, interrupts when it likes, and the clock steps.
//
// What it holds to is what makes the judgement independent of the driver. It writes into the buffer of a request only while it
// has the request: it has found it behind avail.idx, has named it in no used element since, and has not confirmed a reset. What
// it has scribbled itself it does not take for the driver's words, until a reset: after that the driver has to have written
// everything anew. So, for every input:
//   no descriptor names memory that is neither the buffer of a request in flight, in its direction, nor small enough to be
//     header, status, range, identifier or table, in the memory that the driver was given for it;
//   every request ends, once, however the device ends: removed, or honest from some moment on;
//   none ends with ok whose every byte the device has not been shown in published chains;
//   a buffer that was handed back is not written again, unless the disk is lost; nor is a buffer to be written from ever;
//   nothing else in memory that a device can reach is touched; and from an honest device the disk reads again, or is lost.
#include "async/counting_scope.hpp"
#include "async/executor.hpp"
#include "async/stop_token.hpp"
#include "async/task.hpp"
#include "drivers/block/disk.hpp"
#include "drivers/virtio/mmio.hpp"
#include "tests/model/specification.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>

namespace {

using namespace inflight;
using arch::host::fence_kind;
using arch::host::machine;
using async::task;
using block::status;
namespace reg = model::reg;
namespace status_bit = model::status_bit;
namespace flag = model::descriptor_flag;

constexpr unsigned harts = 2, max_requests = 12, max_queues = 3, largest_queue = 16;
constexpr std::size_t arena_bytes = std::size_t{128} << 10, private_bytes = std::size_t{64} << 10, buffer_bytes = 2048,
                      red_zone = 64;
constexpr arch::ticks time_limit = 50'000'000, cost_of_access = 500'000;
constexpr arch::ticks first_time = 1'000'000'000;
constexpr std::uintptr_t base = 0x1000'1000;
constexpr unsigned line = 1;
constexpr std::byte red{0xa7};

[[noreturn]] void wrong(const char* what) {
    std::fprintf(stderr, "device_fuzz: %s\n", what);
    std::abort();
}

void require(bool holds, const char* what) {
    if (!holds)
        wrong(what);
}

class input {
  public:
    input(const std::uint8_t* data, std::size_t size) : next_{data}, end_{data + size} {}
    bool empty() const { return next_ == end_; }
    std::uint8_t byte() { return empty() ? std::uint8_t{0} : *next_++; }
    unsigned below(unsigned bound) { return byte() % bound; }
    template <typename T>
    T number() {
        T value = 0;
        for (unsigned i = 0; i < sizeof(T); ++i)
            value = static_cast<T>(value << 8 * (sizeof(T) > 1) | byte());
        return value;
    }
    // Numbers that are likely to be an edge of something.
    std::uint64_t interesting() {
        static constexpr std::uint64_t edges[] = {0,       1,           2,           3,          7,          8,
                                                  15,      16,          17,          64,         511,        512,
                                                  513,     4096,        65535,       65536,      0x7fffffff, 0x80000000,
                                                  1 << 20, 0xffff'fe00, 0xffff'ffff, 1ULL << 32, ~0ULL >> 9, ~0ULL};
        const unsigned which = below(std::size(edges) + 8);
        return which < std::size(edges) ? edges[which] : number<std::uint32_t>();
    }

  private:
    const std::uint8_t* next_;
    const std::uint8_t* end_;
};

// A request, the place of its buffer, and what is known of it.
struct request_record {
    request_record() = default; // not an aggregate: see coroutine.hpp
    bool active = false;
    bool has_data = false;
    bool writes = false;
    unsigned started = 0, ended = 0;
    status outcome = status::ok;
    std::byte* buffer = nullptr;
    std::size_t bytes = 0;
    std::uint64_t shown = 0;                  // bytes of it that the device has found in published chains
    std::array<std::byte, buffer_bytes> then; // of so many bytes as the request has
    bool check_then = false;
    bool unseen = false; // some of the time, the device could not tell what it was shown
    std::array<std::span<std::byte>, 4> into{};
    std::array<std::span<const std::byte>, 4> from{};
    std::optional<async::stop_source> source;
    block::virtio_blk::id_string id{};
};

// Final, as whoever destroys it knows what it is.
struct modern_transport final : virtio::mmio_transport {
    using virtio::mmio_transport::mmio_transport;
};

class session;
session* now_running = nullptr;

// What lives as long as the process: to make it costs more than a run.
struct laboratory {
    machine host{arch::host::machine_options{.harts = harts,
                                             .memory_bytes = std::size_t{512} << 10,
                                             .cost_of_access = cost_of_access,
                                             .interrupt_storm = 16}};
    std::byte* arena = host.allocate(arena_bytes, 4096);
    alignas(4096) std::array<std::byte, private_bytes> of_driver; // which no device reaches
    std::byte* buffers = host.allocate(max_requests * (buffer_bytes + red_zone) + red_zone, 512);
    alignas(64) std::array<std::array<std::byte, 16384>, harts> frames{};
};

class session final : public arch::host::mmio_device, public arch::host::observer, public dma_memory {
  public:
    session(laboratory& lab, input& in) : lab_{lab}, in_{in} {
        now_running = this;
        lab_.host.step_clock(static_cast<std::int64_t>(first_time - lab_.host.clock()));
        lab_.host.attach(base, 0x200, *this);
        lab_.host.observe(*this);
        for (unsigned i = 0; i < max_requests; ++i) {
            std::byte* const start = lab_.buffers + i * (buffer_bytes + red_zone);
            std::memset(start, std::to_integer<int>(red), red_zone);
            requests_[i].buffer = start + red_zone;
        }
        std::memset(lab_.buffers + max_requests * (buffer_bytes + red_zone), std::to_integer<int>(red), red_zone);
    }
    ~session() override {
        lab_.host.stop_observing(*this);
        lab_.host.detach(*this);
        lab_.host.lower_line(line);
        lab_.host.clear_violations();
        lab_.host.clear_stall();
        for (unsigned hart = 0; hart < harts; ++hart) {
            lab_.host.select_hart(hart);
            lab_.host.set_deadline(arch::no_deadline);
        }
        lab_.host.select_hart(0);
        now_running = nullptr;
    }
    session(const session&) = delete;
    session& operator=(const session&) = delete;

    void run();
    void interrupt() {
        if (disk_)
            disk_->handle_line();
    }

    // ---- the device as the machine sees it
    std::uint32_t read(std::uint64_t offset, unsigned width) override;
    void write(std::uint64_t offset, unsigned width, std::uint32_t value) override;
    void on_fence(fence_kind) override {
        for (queue& each : queues_) // what is published, before the driver can see an answer
            look(each);
        perhaps_act();
    }

    std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
        const std::size_t start = (allocated_ + alignment - 1) & ~(alignment - 1);
        if (start + bytes > arena_bytes)
            return nullptr;
        allocated_ = start + bytes;
        return lab_.arena + start;
    }

    std::byte* allocate_private(std::size_t bytes, std::size_t alignment) noexcept override {
        const std::size_t start = (allocated_private_ + alignment - 1) & ~(alignment - 1);
        if (start + bytes > private_bytes)
            return nullptr;
        allocated_private_ = start + bytes;
        return lab_.of_driver.data() + start;
    }

  private:
    struct chain {
        std::uint16_t head = 0;
        bool owned = false;
        std::byte* status = nullptr;
        std::uint32_t writable = 0;
        unsigned data_count = 0;
        std::array<std::span<std::byte>, 32> data; // so many of them
    };
    struct queue {
        std::uint32_t size = 0, align = 4096;
        std::uint64_t address[3]{};
        bool live = false, broken = false;
        bool made_up = false; // used elements or used.idx are not those of its work
        std::byte* part[3]{};
        std::size_t bytes[3]{};
        std::uint16_t seen = 0, used = 0;
        std::array<chain, largest_queue> chains; // by head
        void forget() {
            for (chain& each : chains) {
                each.owned = false;
                each.status = nullptr;
                each.data_count = 0;
            }
        }
    };

    // ---- memory of the device
    template <typename T>
    static T get(const std::byte* at) {
        T value;
        std::memcpy(&value, at, sizeof value);
        return value;
    }
    template <typename T>
    static void put(std::byte* at, T value) {
        std::memcpy(at, &value, sizeof value);
    }
    bool in_arena(const std::byte* start, std::uint64_t bytes) const {
        return start >= lab_.arena && start < lab_.arena + arena_bytes &&
               bytes <= static_cast<std::uint64_t>(lab_.arena + arena_bytes - start);
    }
    void scribble(std::byte* start, std::size_t bytes);
    bool scribbled(const std::byte* start, std::size_t bytes) const;

    // ---- the device at work
    void enable(queue&);
    void lose_sight(queue&);
    void look(queue&);
    bool take(queue&, std::uint16_t head);
    bool take_descriptor(chain&, const model::descriptor&, bool is_first);
    request_record* owner_of(const std::byte* start, std::uint64_t bytes, bool device_writes);
    void make_up(queue&);
    static void give_back_what_is_named(queue&);
    void complete(queue&, std::uint16_t head);
    void serve(queue&);
    void perhaps_act();
    void act();
    void raise(std::uint32_t bits) {
        interrupt_status_ |= bits;
        if (!removed_)
            lab_.host.raise_line(line);
    }
    void end_reset();
    queue& any_queue() { return queues_[in_.below(max_queues)]; }

    // ---- the driver at work
    void start_request();
    template <typename Request>
    task<void> attend(request_record&, Request);
    task<void> attend_scattered(request_record&, std::uint64_t sector, unsigned pieces);
    void ended(request_record&, status);
    void step(unsigned hart);
    bool all_over() const {
        return std::all_of(requests_.begin(), requests_.end(), [](const request_record& r) { return !r.active; });
    }
    void end();
    void check_memory() const;

    laboratory& lab_;
    input& in_;
    std::size_t allocated_ = 0, allocated_private_ = 0;
    std::array<request_record, max_requests> requests_;

    bool acting_ = false, honest_ = false, removed_ = false;
    std::uint32_t version_ = 2, status_ = 0, interrupt_status_ = 0, generation_ = 0, queue_sel_ = 0, feature_sel_ = 0;
    std::uint32_t page_size_ = 4096;
    std::uint64_t features_ = 0;
    unsigned resetting_ = 0; // reads of Status that do not show the reset yet
    std::array<std::uint8_t, 96> configuration_{};
    std::optional<std::pair<std::uint64_t, std::uint32_t>> claimed_; // the next read of this register is this
    std::array<queue, max_queues> queues_;
    struct scribbled_half {
        const std::byte* at;
        std::uint16_t value;
    };
    std::array<scribbled_half, 256> scribbled_;
    unsigned scribbled_count_ = 0;
    bool spoilt_ = false; // all of it, since the last reset

    std::optional<modern_transport> modern_;
    std::optional<virtio::legacy_mmio_transport> legacy_;
    std::optional<block::disk> disk_;
    std::array<std::optional<async::counting_scope>, harts> scopes_;
};

// ---- what the device does to memory

void session::scribble(std::byte* start, std::size_t bytes) {
    const auto value = in_.number<std::uint16_t>();
    for (std::size_t at = 0; at + 2 <= bytes; at += 2) {
        const auto half = static_cast<std::uint16_t>(value + 0x9e37 * at);
        put(start + at, half);
        if (scribbled_count_ < scribbled_.size())
            scribbled_[scribbled_count_++] = {start + at, half};
        else // it cannot tell any more what is whose
            for (queue& each : queues_)
                lose_sight(each);
    }
}

// In halves of words, which are the smallest that a driver writes.
bool session::scribbled(const std::byte* start, std::size_t bytes) const {
    return std::any_of(scribbled_.begin(), scribbled_.begin() + scribbled_count_, [=](const scribbled_half& each) {
        return each.at + 2 > start && each.at < start + bytes && get<std::uint16_t>(each.at) == each.value;
    });
}

// The device cannot tell any more what the driver says there, and does not look.
void session::lose_sight(queue& of) {
    of.broken = true;
    for (request_record& each : requests_)
        each.unseen = true;
}

void session::enable(queue& enabled) {
    if (enabled.size == 0 || enabled.size > largest_queue || (enabled.size & (enabled.size - 1)) != 0)
        wrong("the driver enables a queue of a size that it was not offered, or that is none");
    enabled.bytes[0] = 16 * enabled.size;
    enabled.bytes[1] = 6 + 2 * enabled.size;
    enabled.bytes[2] = 6 + 8 * enabled.size;
    for (unsigned i = 0; i < 3; ++i) {
        enabled.part[i] = lab_.host.translate(enabled.address[i], enabled.bytes[i]);
        require(enabled.part[i] != nullptr && in_arena(enabled.part[i], enabled.bytes[i]),
                "a queue lies outside of the memory for it");
    }
    enabled.live = true;
    enabled.broken = false;
    if (spoilt_)
        lose_sight(enabled);
    enabled.seen = enabled.used = 0;
    enabled.made_up = false;
    enabled.forget();
}

request_record* session::owner_of(const std::byte* start, std::uint64_t bytes, bool device_writes) {
    for (request_record& each : requests_)
        if (each.active && each.has_data && each.writes != device_writes && start >= each.buffer &&
            bytes <= each.bytes && start + bytes <= each.buffer + each.bytes)
            return &each;
    return nullptr;
}

// What the device finds in a chain. False: it is its own scribble.
bool session::take_descriptor(chain& taken, const model::descriptor& found, bool is_first) {
    const bool writable = (found.flags & flag::write) != 0;
    std::byte* const start = lab_.host.translate(found.address, found.length);
    require(start != nullptr, "a descriptor names what is not in memory");
    require(found.length != 0, "a descriptor is empty");
    if (is_first) {
        require(!writable && found.length == 16 && in_arena(start, 16), "a chain does not begin with a header");
        return !scribbled(start, 16);
    }
    if (writable) {
        taken.writable += found.length;
        taken.status = start + found.length - 1;
    }
    if (in_arena(start, found.length)) {
        require(found.length == (writable ? 20U : 16U) || (writable && found.length == 1),
                "a descriptor names memory of the driver that is no status, range or identifier");
        return true;
    }
    request_record* const owner = owner_of(start, found.length, writable);
    require(owner != nullptr,
            "a descriptor names memory of nobody who has a request in flight, or in the wrong direction");
    owner->shown += found.length;
    if (writable && taken.data_count < taken.data.size())
        taken.data[taken.data_count++] = {start, found.length};
    return true;
}

bool session::take(queue& of, std::uint16_t head) {
    chain taken;
    taken.head = head;
    const std::byte* table = of.part[0];
    std::size_t entries = of.size;
    std::size_t at = head;
    if (scribbled(table + 16 * at, 16))
        return false;
    auto found = get<model::descriptor>(table + 16 * at);
    if ((found.flags & flag::indirect) != 0) {
        std::byte* const indirect = lab_.host.translate(found.address, found.length);
        require(indirect != nullptr && in_arena(indirect, found.length) && found.length % 16 == 0,
                "an indirect table lies outside of the memory for it");
        table = indirect;
        entries = found.length / 16;
        at = 0;
    }
    for (std::size_t count = 0;; ++count) {
        if (scribbled(table + 16 * at, 16))
            return false;
        found = get<model::descriptor>(table + 16 * at);
        require(count < entries && (found.flags & flag::indirect) == 0, "a chain loops");
        if (!take_descriptor(taken, found, count == 0))
            return false;
        if ((found.flags & flag::next) == 0)
            break;
        at = found.next;
        require(at < entries, "a chain goes on beyond its table");
    }
    require(taken.status != nullptr && in_arena(taken.status, 1), "a chain has no status byte");
    require(!of.chains[head].owned || of.made_up, "a chain is published that the device has");
    chain& kept = of.chains[head];
    kept.head = taken.head;
    kept.owned = true;
    kept.status = taken.status;
    kept.writable = taken.writable;
    kept.data_count = taken.data_count;
    std::copy_n(taken.data.begin(), taken.data_count, kept.data.begin());
    return true;
}

void session::look(queue& of) {
    if (!of.live || of.broken || scribbled(of.part[1] + 2, 2))
        return;
    const auto published = get<std::uint16_t>(of.part[1] + 2);
    const auto advance = static_cast<std::uint16_t>(published - of.seen);
    require(advance <= of.size, "avail.idx runs ahead of the queue");
    for (; of.seen != published; ++of.seen) {
        std::byte* const entry = of.part[1] + 4 + 2 * (of.seen % of.size);
        if (scribbled(entry, 2)) {
            lose_sight(of);
            return;
        }
        const auto head = get<std::uint16_t>(entry);
        require(head < of.size, "an available entry names no descriptor");
        if (!take(of, head)) {
            lose_sight(of);
            return;
        }
    }
    if (of.made_up)
        give_back_what_is_named(of);
}

// The used ring is not what it should be: whatever it names, now or later, is not written to.
void session::make_up(queue& of) {
    look(of);
    of.made_up = true;
    give_back_what_is_named(of);
}

void session::give_back_what_is_named(queue& of) {
    for (std::size_t i = 0; i < of.size; ++i) {
        const auto id = get<std::uint32_t>(of.part[2] + 4 + 8 * i);
        if (id < of.size)
            of.chains[id].owned = false;
    }
}

void session::complete(queue& of, std::uint16_t head) {
    chain& done = of.chains[head];
    if (!of.live || of.broken || !done.owned)
        return;
    *done.status = std::byte{0};
    done.owned = false;
    put(of.part[2] + 4 + 8 * (of.used % of.size), std::uint32_t{head});
    put(of.part[2] + 8 + 8 * (of.used % of.size), done.writable);
    put(of.part[2] + 2, ++of.used);
    raise(model::interrupt_used);
}

void session::serve(queue& of) {
    look(of);
    for (std::uint16_t head = 0; head < of.size && of.live && head < largest_queue; ++head)
        complete(of, head);
}

void session::perhaps_act() {
    if (acting_ || honest_ || removed_ || in_.empty())
        return;
    if (in_.byte() >= 0xd0)
        act();
}

void session::act() {
    acting_ = true;
    queue& of = any_queue();
    switch (in_.below(16)) {
    case 0: look(of); break;
    case 1:
        look(of);
        complete(of, static_cast<std::uint16_t>(in_.below(largest_queue)));
        break;
    case 2: serve(of); break;
    case 3: // data
        look(of);
        for (chain& each : of.chains)
            if (each.owned && each.data_count != 0) {
                const std::span<std::byte> data = each.data[in_.below(each.data_count)];
                data[in_.number<std::uint16_t>() % data.size()] = std::byte{in_.byte()};
            }
        break;
    case 4: // a status byte
        if (chain& each = of.chains[in_.below(largest_queue)]; each.status != nullptr)
            *each.status = std::byte{in_.byte()};
        break;
    case 5: // a used element
        if (of.live) {
            std::byte* const element = of.part[2] + 4 + 8 * in_.below(of.size);
            put(element, (in_.byte() & 3) != 0 ? std::uint32_t{in_.below(of.size)}
                                               : static_cast<std::uint32_t>(in_.interesting()));
            put(element + 4, static_cast<std::uint32_t>(in_.interesting()));
            make_up(of);
        }
        break;
    case 6: // used.idx
        if (of.live) {
            make_up(of);
            of.used = static_cast<std::uint16_t>((in_.byte() & 3) != 0 ? of.used + in_.below(4) : in_.interesting());
            put(of.part[2] + 2, of.used);
            raise(model::interrupt_used);
        }
        break;
    case 7: // the rest of the used ring: flags, avail_event
        if (of.live)
            put(of.part[2] + ((in_.byte() & 1) != 0 ? 0 : 4 + 8 * of.size), in_.number<std::uint16_t>());
        break;
    case 8: // a word of the descriptor table or of the available ring
        if (of.live) {
            const unsigned part = in_.below(2);
            const std::size_t words = of.bytes[part] / 4;
            scribble(of.part[part] + 4 * (in_.byte() % words), 4);
        }
        break;
    case 9: // a word of anything that the driver has allocated for it
        if (allocated_ >= 4) {
            for (queue& each : queues_) // it may be the used ring
                if (each.live)
                    make_up(each);
            scribble(lab_.arena + 4 * (in_.number<std::uint16_t>() % (allocated_ / 4)), 4);
            for (queue& each : queues_)
                if (each.live)
                    give_back_what_is_named(each);
        }
        break;
    case 10: // all of it
        spoilt_ = true;
        for (queue& each : queues_)
            if (each.live) {
                lose_sight(each);
                for (chain& of_it : each.chains)
                    of_it.owned = false;
                for (unsigned part = 0; part < 3; ++part)
                    for (std::size_t at = 0; at < each.bytes[part]; ++at)
                        each.part[part][at] = static_cast<std::byte>(at * 37 + in_.byte());
            }
        std::memset(lab_.arena, in_.byte(), allocated_);
        break;
    case 11: { // the configuration space
        const std::uint64_t value = in_.interesting();
        const std::size_t at = in_.below(88) & ~3U;
        std::memcpy(&configuration_[at], &value, (in_.byte() & 1) != 0 ? 8 : 4);
        generation_ += in_.byte() & 1;
        if ((in_.byte() & 1) != 0)
            raise(model::interrupt_config);
        break;
    }
    case 12:
        status_ |= status_bit::needs_reset;
        if ((in_.byte() & 3) != 0)
            raise(model::interrupt_config);
        break;
    case 13: raise(in_.byte() & 3U); break;
    case 14: // what a register says next
        claimed_ = {std::uint64_t{in_.byte()} & 0xfcU, static_cast<std::uint32_t>(in_.interesting())};
        break;
    default: // the clock
        switch (in_.below(4)) {
        case 0: lab_.host.step_clock(time_limit / 4 + in_.byte()); break;
        case 1: lab_.host.step_clock(2 * static_cast<std::int64_t>(time_limit)); break;
        case 2: // not below 0: from there a jump over 0 would take it past a deadline without reaching it
            lab_.host.step_clock(
                -static_cast<std::int64_t>(std::min<arch::ticks>(in_.number<std::uint32_t>() >> 4, lab_.host.clock())));
            break;
        default: lab_.host.step_clock(static_cast<std::int64_t>(in_.number<std::uint32_t>())); break;
        }
        break;
    }
    acting_ = false;
}

// ---- registers

void session::end_reset() {
    status_ = 0;
    interrupt_status_ = 0;
    lab_.host.lower_line(line);
    scribbled_count_ = 0;
    spoilt_ = false;
    for (queue& each : queues_) {
        each.size = 0;
        each.live = each.broken = false;
        each.forget();
    }
}

std::uint32_t session::read(std::uint64_t offset, unsigned width) {
    perhaps_act();
    if (removed_)
        return ~0U;
    if (claimed_ && claimed_->first == offset) {
        const std::uint32_t value = std::exchange(claimed_, std::nullopt)->second;
        if (offset == reg::status && value == 0 && resetting_ != 0) { // that confirms the reset, whoever says it
            resetting_ = 0;
            end_reset();
        }
        return value;
    }
    if (offset >= reg::config) {
        std::uint32_t value = 0;
        const std::size_t at = offset - reg::config;
        require(at + width <= configuration_.size(), "a read beyond the configuration space");
        std::memcpy(&value, &configuration_[at], width);
        return value;
    }
    queue* const selected = queue_sel_ < max_queues ? &queues_[queue_sel_] : nullptr;
    switch (offset) {
    case reg::magic_value: return model::magic;
    case reg::version: return version_;
    case reg::device_id: return 2;
    case reg::device_features: return feature_sel_ > 1 ? 0 : static_cast<std::uint32_t>(features_ >> 32 * feature_sel_);
    case reg::queue_size_max: return selected == nullptr ? 0 : largest_queue;
    case reg::queue_ready:
    case reg::queue_pfn: return selected != nullptr && selected->live ? 1 : 0;
    case reg::interrupt_status: return interrupt_status_;
    case reg::status:
        if (resetting_ != 0 && --resetting_ == 0)
            end_reset();
        return resetting_ != 0 ? 1 : status_;
    case reg::config_generation: return generation_;
    default: return 0;
    }
}

void session::write(std::uint64_t offset, unsigned, std::uint32_t value) {
    perhaps_act();
    if (removed_)
        return;
    queue* const selected = queue_sel_ < max_queues ? &queues_[queue_sel_] : nullptr;
    const auto put_half = [&](unsigned which, bool high) {
        if (selected != nullptr)
            selected->address[which] = high ? (selected->address[which] & 0xffff'ffff) | std::uint64_t{value} << 32
                                            : (selected->address[which] & ~std::uint64_t{0xffff'ffff}) | value;
    };
    switch (offset) {
    case reg::device_features_sel: feature_sel_ = value; break;
    case reg::queue_sel: queue_sel_ = value; break;
    case reg::queue_size:
        if (selected != nullptr)
            selected->size = value;
        break;
    case reg::guest_page_size: page_size_ = value; break;
    case reg::queue_pfn:
        if (selected != nullptr && value != 0) {
            const std::uint64_t start = std::uint64_t{value} * page_size_;
            selected->address[0] = start;
            selected->address[1] = start + 16 * selected->size;
            selected->address[2] = (selected->address[1] + 6 + 2 * selected->size + 4095) & ~std::uint64_t{4095};
            enable(*selected);
        }
        break;
    case reg::queue_desc_low:
    case reg::queue_desc_high: put_half(0, offset == reg::queue_desc_high); break;
    case reg::queue_driver_low:
    case reg::queue_driver_high: put_half(1, offset == reg::queue_driver_high); break;
    case reg::queue_device_low:
    case reg::queue_device_high: put_half(2, offset == reg::queue_device_high); break;
    case reg::queue_ready:
        if (selected != nullptr && value == 1)
            enable(*selected);
        break;
    case reg::queue_notify:
        if (honest_ && value < max_queues)
            serve(queues_[value]);
        break;
    case reg::interrupt_ack:
        interrupt_status_ &= ~value;
        if (interrupt_status_ == 0)
            lab_.host.lower_line(line);
        break;
    case reg::status:
        if (value != 0) {
            status_ = value | (status_ & status_bit::needs_reset);
            break;
        }
        resetting_ = honest_ ? 1 : 1 + in_.below(3);
        break;
    default: break;
    }
}

// ---- the driver's side

void session::ended(request_record& of, status outcome) {
    ++of.ended;
    require(of.ended == of.started, "a request ended twice");
    of.active = false;
    of.outcome = outcome;
    if (outcome == status::ok && of.has_data)
        require(of.shown >= of.bytes || of.unseen, "a request ended with ok, and the device was never shown all of it");
    of.check_then = of.has_data && outcome != status::device_lost;
    if (of.check_then)
        std::copy_n(of.buffer, of.bytes, of.then.begin());
}

template <typename Request>
task<void> session::attend(request_record& of, Request make) {
    block::request request = make(*disk_);
    request.set_stop_token(of.source->get_token());
    const status outcome = co_await request;
    ended(of, outcome);
}

task<void> session::attend_scattered(request_record& of, std::uint64_t sector, unsigned pieces) {
    const std::size_t piece = of.bytes / pieces;
    for (unsigned i = 0; i < pieces; ++i) {
        of.into[i] = {of.buffer + i * piece, piece};
        of.from[i] = {of.buffer + i * piece, piece};
    }
    block::request request = of.writes ? disk_->write(sector, std::span{of.from}.first(pieces))
                                       : disk_->read(sector, std::span{of.into}.first(pieces));
    request.set_stop_token(of.source->get_token());
    const status outcome = co_await request;
    ended(of, outcome);
}

void session::start_request() {
    const unsigned hart = in_.below(harts);
    request_record& it = requests_[in_.below(max_requests)];
    if (it.active)
        return;
    const unsigned kind = in_.below(10);
    const std::uint64_t sector = (in_.byte() & 7) != 0 ? in_.byte() : in_.interesting();
    it.has_data = kind < 6;
    it.writes = kind % 2 == 1;
    it.bytes = std::size_t{512} * (1 + in_.below(4));
    it.shown = 0;
    it.unseen = std::any_of(queues_.begin(), queues_.end(), [](const queue& each) { return each.broken; });
    it.check_then = false;
    it.source.emplace();
    for (std::size_t i = 0; i < it.bytes; ++i)
        it.buffer[i] = static_cast<std::byte>(i * 7 + kind);
    if (it.writes && it.has_data)
        std::copy_n(it.buffer, it.bytes, it.then.begin());
    it.active = true;
    ++it.started;
    lab_.host.select_hart(hart);
    auto spawn = [&](task<void> work) {
        require(scopes_[hart]->spawn(std::move(work)), "no memory for a frame");
    };
    switch (kind) {
    case 0:
    case 2:
        spawn(attend(it, [&it, sector](block::disk& d) { return d.read(sector, std::span{it.buffer, it.bytes}); }));
        break;
    case 1:
    case 3:
        spawn(attend(it, [&it, sector](block::disk& d) {
            return d.write(sector, std::span<const std::byte>{it.buffer, it.bytes});
        }));
        break;
    case 4:
    case 5: spawn(attend_scattered(it, sector, static_cast<unsigned>(it.bytes / 512))); break;
    case 6: spawn(attend(it, [](block::disk& d) { return d.flush(); })); break;
    case 7: spawn(attend(it, [sector](block::disk& d) { return d.discard(sector, 8); })); break;
    case 8: spawn(attend(it, [sector](block::disk& d) { return d.write_zeroes(sector, 8); })); break;
    default: spawn(attend(it, [&it](block::disk& d) { return d.get_id(it.id); })); break;
    }
}

void session::step(unsigned hart) {
    lab_.host.select_hart(hart);
    async::executor::current().tick();
    lab_.host.select_hart(0);
}

void session::check_memory() const {
    for (unsigned i = 0; i <= max_requests; ++i) {
        const std::byte* const zone = lab_.buffers + i * (buffer_bytes + red_zone);
        require(std::all_of(zone, zone + red_zone, [](std::byte each) { return each == red; }),
                "memory between the buffers was touched");
    }
    for (const request_record& each : requests_)
        if ((!each.active && each.check_then) || (each.active && each.has_data && each.writes))
            require(std::equal(each.buffer, each.buffer + each.bytes, each.then.begin()),
                    "a buffer was written that was not to be, or that had been handed back");
}

// The device is honest from now on, or gone.
void session::end() {
    claimed_.reset();
    const bool stays = (in_.byte() & 1) != 0;
    honest_ = stays;
    removed_ = !stays;
    if (removed_)
        lab_.host.lower_line(line);
    else if ((status_ & status_bit::driver_ok) != 0) {
        status_ |= status_bit::needs_reset; // for what it has spoilt
        raise(model::interrupt_config);
    }
    for (unsigned round = 0; !all_over(); ++round) {
        require(round < 400, "requests do not end");
        for (queue& each : queues_)
            if (honest_ && each.live)
                serve(each);
        for (unsigned hart = 0; hart < harts; ++hart)
            step(hart);
        // Further on, as much as it may have gone back.
        lab_.host.step_clock(round < 100 ? time_limit / 3 : 20 * time_limit);
    }
    check_memory();
    if (!honest_ || disk_->lost())
        return;
    // It reads again: its capacity is what it says, and what it says makes sense now.
    const std::uint64_t capacity = 1024;
    std::memcpy(configuration_.data(), &capacity, sizeof capacity);
    ++generation_;
    raise(model::interrupt_config);
    for (unsigned hart = 0; hart < harts; ++hart) {
        for (unsigned i = 0; i < 8; ++i)
            step(hart);
    }
    const std::uint32_t block = disk_->properties().logical_block_size;
    if (disk_->lost() || block > buffer_bytes)
        return;
    request_record& last = requests_[0];
    last.has_data = true;
    last.writes = false;
    last.bytes = block;
    last.shown = 0;
    last.unseen = false;
    last.source.emplace();
    last.active = true;
    ++last.started;
    lab_.host.select_hart(0);
    require(scopes_[0]->spawn(attend(last,
                                     [&last](block::disk& d) {
                                         return d.read(0, std::span{last.buffer, last.bytes});
                                     })),
            "no memory for a frame");
    for (unsigned round = 0; last.active; ++round) {
        require(round < 400, "a request does not end though the device is honest");
        for (unsigned hart = 0; hart < harts; ++hart)
            step(hart);
        for (queue& each : queues_)
            if (each.live)
                serve(each);
        if (round % 8 == 7)
            lab_.host.step_clock(time_limit / 3);
    }
    require(last.outcome == status::ok || disk_->lost(), "an honest device, and the disk does not read");
    check_memory();
}

void session::run() {
    const std::uint8_t shape = in_.byte();
    version_ = (shape & 1) != 0 ? 1 : 2;
    namespace feature = model::feature;
    const auto bit = feature::bit;
    features_ = bit(feature::seg_max) | bit(feature::blk_size) | bit(feature::flush) | bit(feature::mq) |
                bit(feature::discard) | bit(feature::write_zeroes);
    if (version_ == 2)
        features_ |= bit(feature::version_1);
    if ((shape & 2) != 0)
        features_ |= bit(feature::event_idx);
    if ((shape & 4) != 0)
        features_ |= bit(feature::indirect_desc);
    if ((shape & 8) != 0)
        features_ |= bit(feature::size_max) | bit(feature::topology) | bit(feature::config_wce);
    const auto put_field = [this](std::size_t at, auto value) {
        std::memcpy(&configuration_[at], &value, sizeof value);
    };
    put_field(0, std::uint64_t{1024});
    put_field(8, std::uint32_t{4096});
    put_field(12, std::uint32_t{(shape & 16) != 0 ? 2U : 30U});
    put_field(20, std::uint32_t{512});
    put_field(34, static_cast<std::uint16_t>(1 + (shape >> 5) % max_queues));
    for (const std::size_t at : {36U, 48U}) {
        put_field(at, std::uint32_t{5});
        put_field(at + 4, std::uint32_t{1});
    }
    put_field(44, std::uint32_t{3});

    std::array<std::optional<async::executor>, harts> executors;
    for (unsigned hart = 0; hart < harts; ++hart) {
        lab_.host.select_hart(hart);
        executors[hart].emplace(lab_.frames[hart]);
        executors[hart]->set_poll_mode(async::poll_mode::off);
        scopes_[hart].emplace();
    }
    lab_.host.select_hart(0);
    virtio::transport* transport = nullptr;
    if (version_ == 1)
        transport = &legacy_.emplace(base);
    else
        transport = &modern_.emplace(base);
    disk_.emplace(*transport);
    lab_.host.line_handler(line, [] {
        if (now_running != nullptr)
            now_running->interrupt();
    });
    const virtio::error outcome =
        disk_->start(*this, {.queues = max_queues, .queue_size = largest_queue, .request_timeout = time_limit});
    if (outcome == virtio::error::none) {
        for (unsigned hart = 0; hart < harts; ++hart) // the channels open
            step(hart);
        while (!in_.empty()) {
            switch (in_.below(8)) {
            case 0:
            case 1: start_request(); break;
            case 2:
                if (request_record& it = requests_[in_.below(max_requests)]; it.active)
                    it.source->request_stop();
                break;
            case 3:
            case 4:
            case 5: step(in_.below(harts)); break;
            default: lab_.host.run_as_device([this] { act(); }); break;
            }
        }
        end();
    }
    check_memory();
    for (const auto& each : lab_.host.violations())
        require(each.id == "STORM", each.message.c_str());
    removed_ = true;
    for (auto& each : scopes_)
        each.reset();
    disk_.reset();
    for (unsigned hart = 0; hart < harts; ++hart) {
        lab_.host.select_hart(hart);
        executors[hart].reset();
    }
    lab_.host.select_hart(0);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static laboratory lab;
    input in{data, size};
    const auto one = std::make_unique<session>(lab, in);
    one->run();
    return 0;
}
