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
#include "async/executor.hpp"
#include "drivers/block/disk.hpp"
#include "drivers/virtio/mmio.hpp"
#include "tests/fuzz/device/driver_memory.hpp"
#include "tests/fuzz/device/fuzzed_device.hpp"
#include "tests/fuzz/device/input.hpp"
#include "tests/fuzz/device/laboratory.hpp"
#include "tests/fuzz/device/misbehaviour.hpp"
#include "tests/fuzz/device/request_table.hpp"
#include "tests/fuzz/device/require.hpp"
#include "tests/fuzz/device/workload.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>

namespace {

using namespace inflight;
using namespace inflight::fuzz;

// Final, as whoever destroys it knows what it is.
struct modern_transport final : virtio::mmio_transport {
    using virtio::mmio_transport::mmio_transport;
};

class session;
session* now_running = nullptr;

// One input.
class session {
  public:
    session(laboratory& lab, input& in)
        : lab_{lab},
          in_{in},
          machine_{lab.host},
          memory_{lab},
          device_{lab.host, in, memory_, requests_},
          misbehaviour_{lab.host, in, memory_, device_},
          workload_{lab.host, in, lab.buffers, requests_} {
        device_.interfere = [this] {
            misbehaviour_.perhaps_act();
        };
        now_running = this;
    }
    ~session() { now_running = nullptr; }
    session(const session&) = delete;
    session& operator=(const session&) = delete;

    void run();
    void interrupt() {
        if (disk_)
            disk_->handle_line();
    }

  private:
    std::uint32_t make_device();
    void make_executors();
    virtio::error start_disk(std::uint32_t version);
    void follow_input();
    void end();
    void expect_disk_reads();
    void destroy();

    void step(unsigned hart);
    void step_all() {
        for (unsigned hart = 0; hart < harts; ++hart)
            step(hart);
    }

    laboratory& lab_;
    input& in_;
    fresh_machine machine_;
    driver_memory memory_;
    request_table requests_;
    fuzzed_device device_;
    misbehaviour misbehaviour_;
    workload workload_;

    std::optional<modern_transport> modern_;
    std::optional<virtio::legacy_mmio_transport> legacy_;
    std::optional<block::disk> disk_;
    std::array<std::optional<async::executor>, harts> executors_;
};

void session::step(unsigned hart) {
    lab_.host.select_hart(hart);
    async::executor::current().tick();
    lab_.host.select_hart(0);
}

// Its version.
std::uint32_t session::make_device() {
    const std::uint8_t shape = in_.byte();
    const std::uint32_t version = (shape & 1) != 0 ? 1 : 2;
    namespace feature = model::feature;
    const auto bit = feature::bit;
    std::uint64_t features = bit(feature::seg_max) | bit(feature::blk_size) | bit(feature::flush) | bit(feature::mq) |
                             bit(feature::discard) | bit(feature::write_zeroes) | bit(feature::lifetime) |
                             bit(feature::secure_erase);
    if (version == 2)
        features |= bit(feature::version_1);
    if (version == 2 && (in_.byte() & 1) != 0)
        features |= bit(feature::ring_packed);
    if ((shape & 2) != 0)
        features |= bit(feature::event_idx);
    if ((shape & 4) != 0)
        features |= bit(feature::indirect_desc);
    if ((shape & 8) != 0)
        features |= bit(feature::size_max) | bit(feature::topology) | bit(feature::config_wce);
    if (version == 2 && (shape & 0xe0) == 0xe0)
        features |= bit(feature::zoned);
    device_.offer(version, features);
    device_.configure(0, std::uint64_t{1024});
    device_.configure(8, std::uint32_t{4096});
    device_.configure(12, std::uint32_t{(shape & 16) != 0 ? 2U : 30U});
    device_.configure(20, std::uint32_t{512});
    device_.configure(34, static_cast<std::uint16_t>(1 + (shape >> 5) % max_queues));
    for (const std::size_t at : {36U, 48U, 60U}) {
        device_.configure(at, std::uint32_t{5});
        device_.configure(at + 4, std::uint32_t{(shape & 16) != 0 ? 1U : 4U});
    }
    device_.configure(44, std::uint32_t{3});
    device_.configure(68, std::uint32_t{2});
    device_.configure(72, std::uint32_t{64}); // zone_sectors
    device_.configure(84, std::uint32_t{4});  // max_append_sectors
    device_.configure(88, std::uint32_t{512});
    device_.configure(92, model::zoned_model::host_managed);
    return version;
}

void session::make_executors() {
    for (unsigned hart = 0; hart < harts; ++hart) {
        lab_.host.select_hart(hart);
        executors_[hart].emplace(lab_.frames[hart]);
        executors_[hart]->set_poll_mode(async::poll_mode::off);
        workload_.open_scope(hart);
    }
    lab_.host.select_hart(0);
}

virtio::error session::start_disk(std::uint32_t version) {
    virtio::transport* transport = nullptr;
    if (version == 1)
        transport = &legacy_.emplace(base);
    else
        transport = &modern_.emplace(base);
    disk_.emplace(*transport);
    lab_.host.line_handler(line, [] {
        if (now_running != nullptr)
            now_running->interrupt();
    });
    return disk_->start(memory_, {.queues = max_queues, .queue_size = largest_queue, .request_timeout = time_limit});
}

void session::follow_input() {
    while (!in_.empty()) {
        switch (in_.below(8)) {
        case 0:
        case 1: {
            const auto& queues = device_.queues;
            workload_.start_request(*disk_, std::any_of(queues.begin(), queues.end(),
                                                        [](const device_queue& each) { return each.broken; }));
            break;
        }
        case 2: workload_.stop_a_request(); break;
        case 3:
        case 4:
        case 5: step(in_.below(harts)); break;
        default: lab_.host.run_as_device([this] { misbehaviour_.act(); }); break;
        }
    }
}

// The device is honest from now on, or gone.
void session::end() {
    if ((in_.byte() & 1) == 0) {
        device_.remove();
        lab_.host.lower_line(line);
    } else {
        device_.become_honest();
        if (device_.driver_ok()) {
            device_.request_reset(); // for what it has spoilt
            device_.raise(model::interrupt_config);
        }
    }
    for (unsigned round = 0; !requests_.all_ended(); ++round) {
        require(round < 400, "requests do not end");
        for (device_queue& each : device_.queues)
            if (device_.honest() && each.live)
                device_.serve(each);
        step_all();
        // Further on, as much as it may have gone back.
        lab_.host.step_clock(round < 100 ? time_limit / 3 : 20 * time_limit);
    }
    workload_.check_memory();
    if (device_.honest() && !disk_->lost())
        expect_disk_reads();
}

// The device is honest. Its capacity is what it says, and what it says makes sense now.
void session::expect_disk_reads() {
    device_.configure(0, std::uint64_t{1024});
    device_.advance_generation();
    device_.raise(model::interrupt_config);
    for (unsigned hart = 0; hart < harts; ++hart) {
        for (unsigned i = 0; i < 8; ++i)
            step(hart);
    }
    const std::uint32_t block_size = disk_->properties().logical_block_size;
    if (disk_->lost() || block_size > buffer_bytes)
        return;
    const request_record& last = workload_.start_read(*disk_, block_size);
    for (unsigned round = 0; last.active; ++round) {
        require(round < 400, "a request does not end though the device is honest");
        step_all();
        for (device_queue& each : device_.queues)
            if (each.live)
                device_.serve(each);
        if (round % 8 == 7)
            lab_.host.step_clock(time_limit / 3);
    }
    require(last.outcome == block::status::ok || disk_->lost(), "an honest device, and the disk does not read");
    workload_.check_memory();
}

void session::destroy() {
    device_.remove();
    workload_.close_scopes();
    disk_.reset();
    for (unsigned hart = 0; hart < harts; ++hart) {
        lab_.host.select_hart(hart);
        executors_[hart].reset();
    }
    lab_.host.select_hart(0);
}

void session::run() {
    const std::uint32_t version = make_device();
    make_executors();
    if (start_disk(version) == virtio::error::none) {
        step_all(); // the channels open
        follow_input();
        end();
    }
    workload_.check_memory();
    for (const auto& each : lab_.host.violations())
        require(each.id == "STORM", each.message.c_str());
    destroy();
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
