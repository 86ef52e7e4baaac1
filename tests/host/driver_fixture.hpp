// What the tests of the driver share: a machine with strict device models, the driver on top of it, and a loop that
// runs the executor until what was started has ended. A loop that gets stuck fails the test and says where, with the
// seed.
#pragma once

#include "async/counting_scope.hpp"
#include "async/executor.hpp"
#include "async/task.hpp"
#include "drivers/block/disk.hpp"
#include "drivers/virtio/mmio.hpp"
#include "tests/host/bouncing_memory.hpp"
#include "tests/host/printing.hpp"
#include "tests/host/virtio_pci_function.hpp"
#include "tests/model/virtio_blk_model.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace inflight::test {

using arch::ticks;
using arch::host::machine;
using async::poll_mode;
using async::task;
using block::status;
using model::blk_configuration;
using model::fault;
using model::virtio_blk_model;

// Memory of the machine, up to a bound.
class bounded_memory final : public dma_memory {
  public:
    bounded_memory(machine& host, std::size_t bytes) : host_{host}, left_{bytes} {}
    std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
        if (bytes + alignment > left_)
            return nullptr;
        left_ -= bytes + alignment;
        std::byte* const start = host_.allocate(bytes, alignment);
        if (start != nullptr)
            shared_.emplace_back(start, bytes);
        return start;
    }
    std::byte* allocate_private(std::size_t bytes, std::size_t alignment) noexcept override {
        std::byte* const start = allocate(bytes, alignment);
        if (start != nullptr)
            shared_.pop_back();
        return start;
    }

    // All that the driver has taken for devices: any byte of it may be written by one at any time.
    const std::vector<std::span<std::byte>>& shared() const noexcept { return shared_; }

  private:
    machine& host_;
    std::size_t left_;
    std::vector<std::span<std::byte>> shared_;
};

// Final, as whoever destroys it knows what it is.
struct modern_transport final : virtio::mmio_transport {
    using virtio::mmio_transport::mmio_transport;
};

struct setup {
    std::vector<blk_configuration> disks = std::vector<blk_configuration>(1);
    arch::host::machine_options machine{};
    block::disk_options disk{};
    poll_mode poll = poll_mode::off;
    std::size_t queue_memory = ~std::size_t{0} >> 1;
    std::optional<std::size_t> bounce_pool; // devices reach buffers only through a pool of so many bytes
    std::size_t frame_memory = std::size_t{256} << 10;
    std::uint16_t vectors = 0; // wanted, of devices on PCI
};

inline setup one_disk(const std::function<void(blk_configuration&)>& change = {}) {
    setup s;
    if (change)
        change(s.disks[0]);
    return s;
}

class world {
  public:
    struct device {
        std::unique_ptr<virtio_blk_model> model;
        std::shared_ptr<virtio::transport> transport;
        std::unique_ptr<virtio_pci_function> pci; // nullptr: on MMIO
        std::unique_ptr<block::disk> disk;
        virtio::error outcome = virtio::error::none;
    };

    explicit world(setup s = {})
        : setup_{std::move(s)},
          host{setup_.machine},
          frames_(setup_.frame_memory / sizeof(block_of_64)),
          hart{std::as_writable_bytes(std::span{frames_})},
          memory{host, setup_.queue_memory} {
        if (setup_.bounce_pool)
            bouncing = std::make_unique<bouncing_memory>(host, *setup_.bounce_pool);
        hart.set_poll_mode(setup_.poll);
        for (std::size_t i = 0; i < setup_.disks.size(); ++i) {
            blk_configuration& configuration = setup_.disks[i];
            configuration.base = configuration.pci ? 0x4000'0000 + 0x10'0000 * i : 0x1000'1000 + 0x1000 * i;
            configuration.line = static_cast<unsigned>(1 + i);
            devices.emplace_back().model = std::make_unique<virtio_blk_model>(host, configuration);
            devices.back().model->fill(host.seed() + i);
        }
        if (setup_.poll == poll_mode::always) // a hart that never sleeps cannot be seen to wait in vain
            host.at(host.time() + 20 * arch::ticks_per_second(),
                    [] { arch::panic("a polling hart has found nothing for twenty seconds"); });
    }

    ~world() {
        if (checked_at_end)
            check_end();
    }

    world(const world&) = delete;
    world& operator=(const world&) = delete;

    virtio_blk_model& model(std::size_t i = 0) { return *devices.at(i).model; }
    block::disk& disk(std::size_t i = 0) { return *devices.at(i).disk; }

    // Discovers and starts device i, as a kernel does.
    virtio::error start(std::size_t i = 0) {
        device& it = devices.at(i);
        if (it.model->configuration().pci) {
            find_on_pci(i);
            return start_disk(it);
        }
        const std::uintptr_t base = it.model->configuration().base;
        const virtio::mmio_identity slot = virtio::identify_mmio(base);
        it.outcome = slot.outcome;
        if (slot.outcome != virtio::error::none || slot.id != virtio::device_id::block)
            return it.outcome;
        if (slot.version == 1)
            it.transport = std::make_shared<virtio::legacy_mmio_transport>(base);
        else
            it.transport = std::make_shared<modern_transport>(base);
        return start_disk(it);
    }

    virtio::error start_disk(device& it) {
        it.disk = std::make_unique<block::disk>(*it.transport);
        host.line_handler(it.model->configuration().line, [disk = it.disk.get()] { disk->handle_line(); });
        it.outcome = it.disk->start(bouncing ? static_cast<dma_memory&>(*bouncing) : memory, setup_.disk);
        return it.outcome;
    }

    // The same for all; fails the test if one does not start.
    void start_all() {
        for (std::size_t i = 0; i < devices.size(); ++i)
            BOOST_REQUIRE_EQUAL(start(i), virtio::error::none);
    }

    // Runs beside whoever spawns it.
    void spawn(task<void> work) { BOOST_REQUIRE_MESSAGE(scope.spawn(std::move(work)), "no memory for a frame"); }

    // Runs the executor until `done` answers true. False if nothing can happen any more before that.
    template <typename Done>
    bool run_until(Done done) {
        bool last_chance = true;
        for (std::uint64_t round = 0; !done(); ++round) {
            if (round > max_rounds)
                return false;
            if (host.stalled()) {
                if (!last_chance)
                    return false;
                last_chance = false;
                host.clear_stall();
            }
            if (!hart.tick() && !done())
                hart.idle();
        }
        host.clear_stall();
        return true;
    }

    // Runs until everything that was spawned has ended, and fails the test if it does not.
    void finish() {
        if (run_until([this] { return scope.size() == 0; }))
            return;
        BOOST_ERROR(std::to_string(scope.size()) + " tasks do not end\n" + host.describe());
        for (device& each : devices) { // so that the rest of the tests can run
            if (!each.disk)
                continue;
            each.model->behave.hold = false;
            each.model->raise_needs_reset();
            each.disk->handle_line();
        }
        host.clear_stall();
        if (!run_until([this] { return scope.size() == 0; }))
            arch::panic("tasks do not end after a reset either");
    }

    void run(task<void> work) {
        spawn(std::move(work));
        finish();
    }

    // Awaits one request, made by `make`.
    template <typename Make>
    status await(Make make) {
        status outcome = status::device_lost;
        unsigned ends = 0;
        auto work = [&]() -> task<void> {
            outcome = co_await make();
            ++ends;
        };
        run(work());
        BOOST_TEST(ends == 1U);
        return outcome;
    }
    status read(std::uint64_t sector, std::span<std::byte> into, std::size_t i = 0) {
        return await([&] { return disk(i).read(sector, into); });
    }
    status write(std::uint64_t sector, std::span<const std::byte> from, std::size_t i = 0) {
        return await([&] { return disk(i).write(sector, from); });
    }
    status flush(std::size_t i = 0) {
        return await([&] { return disk(i).flush(); });
    }
    status discard(std::uint64_t sector, std::uint64_t sectors, std::size_t i = 0) {
        return await([&] { return disk(i).discard(sector, sectors); });
    }
    status write_zeroes(std::uint64_t sector, std::uint64_t sectors, std::size_t i = 0) {
        return await([&] { return disk(i).write_zeroes(sector, sectors); });
    }

    // Memory that the device can reach; but for a bounce pool, through which alone it does.
    std::span<std::byte> buffer(std::size_t bytes) {
        std::byte* const memory_of_it = bouncing ? bouncing->unreachable(bytes, 512) : host.allocate(bytes, 512);
        BOOST_REQUIRE(memory_of_it != nullptr);
        return {memory_of_it, bytes};
    }

    // Lets everything that is under way come to its end.
    void settle() {
        for (int i = 0; i < 8; ++i) {
            host.run_until(host.time() + 20'000);
            while (hart.tick()) {
            }
        }
    }

    std::span<const std::byte> on_disk(std::uint64_t sector, std::uint64_t sectors, std::size_t i = 0) {
        return std::span{model(i).disk()}.subspan(sector * 512, sectors * 512);
    }

    void check_end() {
        settle();
        BOOST_TEST(scope.size() == 0U);
        for (device& each : devices)
            if (each.disk && each.outcome == virtio::error::none && !each.disk->lost())
                static_cast<void>(each.model->idle()); // reports what is left
        for (const auto& each : host.violations())
            BOOST_TEST(permitted.contains(each.id),
                       "seed " << host.seed() << ", time " << each.time << ": " << each.id << ": " << each.message);
        BOOST_TEST(hart.frames().count().live == 0U);
        BOOST_TEST(hart.frames().count().failures == 0U);
    }

    void find_on_pci(std::size_t i) {
        device& it = devices.at(i);
        it.pci = std::make_unique<virtio_pci_function>(host, *it.model, static_cast<unsigned>(1000 + 100 * i));
        it.transport = it.pci->shared_transport();
        it.pci->choose_vectors(setup_.vectors);
        for (std::uint16_t vector = 0; vector < it.pci->transport().vectors().count; ++vector)
            host.line_handler(it.pci->line_of(vector), [this, i, vector] {
                messages.push_back({vector, arch::this_hart()});
                devices[i].pci->handle(vector, devices[i].disk.get());
            });
    }

    static constexpr std::uint64_t max_rounds = 3'000'000;

    setup setup_;
    machine host;
    std::unique_ptr<bouncing_memory> bouncing; // if the setup has a bounce pool

  private:
    struct alignas(64) block_of_64 {
        std::byte bytes[64];
    };
    std::vector<block_of_64> frames_;

  public:
    async::executor hart;
    bounded_memory memory;
    std::vector<device> devices;
    async::counting_scope scope;
    std::set<std::string, std::less<>> permitted; // violations
    struct message {
        std::uint16_t vector;
        arch::hart_index hart;
    };
    std::vector<message> messages; // that handlers have been called for
    bool checked_at_end = true;
};

inline bool same(std::span<const std::byte> a, std::span<const std::byte> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

// Bytes that depend on the seed and on nothing else.
inline void fill_pattern(std::span<std::byte> bytes, std::uint64_t seed) {
    std::uint64_t value = seed * 0x9e3779b97f4a7c15 + 1;
    for (std::size_t at = 0; at < bytes.size(); at += 8) {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
        std::memcpy(bytes.data() + at, &value, std::min<std::size_t>(8, bytes.size() - at));
    }
}

// What a disk must hold, kept by nothing but the meaning of the requests.
class oracle {
  public:
    explicit oracle(std::vector<std::byte> contents) : bytes_(std::move(contents)), known_(bytes_.size() / 512, 1) {}

    void write(std::uint64_t sector, std::span<const std::byte> data) {
        std::memcpy(bytes_.data() + sector * 512, data.data(), data.size());
        mark(sector, data.size() / 512, 1);
    }
    void zero(std::uint64_t sector, std::uint64_t sectors) {
        std::memset(bytes_.data() + sector * 512, 0, sectors * 512);
        mark(sector, sectors, 1);
    }
    void forget(std::uint64_t sector, std::uint64_t sectors) { mark(sector, sectors, 0); }

    // Whether these bytes are what was written, where that is known.
    bool agrees(std::uint64_t sector, std::span<const std::byte> data) const {
        for (std::size_t i = 0; i < data.size() / 512; ++i)
            if (known_[sector + i] != 0 &&
                std::memcmp(data.data() + i * 512, bytes_.data() + (sector + i) * 512, 512) != 0)
                return false;
        return true;
    }

  private:
    void mark(std::uint64_t sector, std::uint64_t sectors, std::uint8_t known) {
        std::fill_n(known_.begin() + static_cast<std::ptrdiff_t>(sector), sectors, known);
    }

    std::vector<std::byte> bytes_;
    std::vector<std::uint8_t> known_;
};

// A list of pieces that together are the buffer.
template <typename Byte>
std::vector<std::span<Byte>> cut(std::span<Byte> whole, std::size_t piece) {
    std::vector<std::span<Byte>> pieces;
    for (std::size_t at = 0; at < whole.size(); at += piece)
        pieces.push_back(whole.subspan(at, std::min(piece, whole.size() - at)));
    return pieces;
}

// Every kind of request once or more, each checked against the device's disk.
inline void exercise(world& w, std::size_t i = 0) {
    const block::disk_properties& properties = w.disk(i).properties();
    const std::uint64_t unit = properties.logical_block_size / 512;
    const auto bytes = static_cast<std::size_t>(unit * 512 * 8);
    auto out = w.buffer(bytes);
    auto in = w.buffer(bytes);
    fill_pattern(out, w.host.seed() + 77);

    BOOST_TEST(w.read(8 * unit, in, i) == status::ok);
    BOOST_TEST(same(in, w.on_disk(8 * unit, 8 * unit, i)));
    if (properties.read_only) {
        BOOST_TEST(w.write(0, out, i) == status::read_only);
        return;
    }
    BOOST_TEST(w.write(8 * unit, out, i) == status::ok);
    BOOST_TEST(same(out, w.on_disk(8 * unit, 8 * unit, i)));
    BOOST_TEST(w.read(8 * unit, in, i) == status::ok);
    BOOST_TEST(same(in, out));

    const auto from = cut(std::span<const std::byte>{out}, unit * 512);
    BOOST_TEST(w.await([&] { return w.disk(i).write(32 * unit, from); }) == status::ok);
    BOOST_TEST(same(out, w.on_disk(32 * unit, 8 * unit, i)));
    std::memset(in.data(), 0, in.size());
    const auto into = cut(in, 2 * unit * 512);
    BOOST_TEST(w.await([&] { return w.disk(i).read(32 * unit, into); }) == status::ok);
    BOOST_TEST(same(in, out));

    BOOST_TEST(w.flush(i) == status::ok);
    BOOST_TEST(w.discard(32 * unit, 2 * unit, i) ==
               (properties.max_discard_sectors != 0 ? status::ok : status::unsupported));
    if (properties.max_write_zeroes_sectors != 0) {
        BOOST_TEST(w.write_zeroes(8 * unit, 4 * unit, i) == status::ok);
        BOOST_TEST(w.read(8 * unit, in, i) == status::ok);
        BOOST_TEST(std::all_of(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(bytes / 2),
                               [](std::byte each) { return each == std::byte{0}; }));
        BOOST_TEST(same(std::span{in}.subspan(bytes / 2), std::span{out}.subspan(bytes / 2)));
    } else {
        BOOST_TEST(w.write_zeroes(8 * unit, 4 * unit, i) == status::unsupported);
    }
    block::virtio_blk::id_string id;
    id.fill('x');
    BOOST_TEST(w.await([&] { return w.disk(i).get_id(id); }) == status::ok);
    std::string expected = w.model(i).configuration().identifier;
    expected.resize(20, '\0');
    BOOST_TEST(std::string(id.data(), id.size()) == expected);
}

} // namespace inflight::test
