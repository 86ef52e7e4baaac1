// The kernel's way from an interrupt to a disk, on the simulated machine: the interrupt controller, its PLIC, and disk_interrupts, with
// device trees that are wrong and lines that do not behave.

#include "src/kernel/console.hpp"
#include "src/kernel/disk_interrupts.hpp"
#include "src/kernel/plic_controller.hpp"
#include "tests/host/driver_fixture.hpp"
#include "tests/model/plic_model.hpp"

#include <cstdarg>
#include <regex>

namespace {

std::string said; // on the console

} // namespace

namespace inflight::kernel::console {

void print(const char* format, ...) noexcept {
    char buffer[1024];
    std::va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    said += buffer;
}

} // namespace inflight::kernel::console

namespace {

using namespace inflight;
using kernel::interrupt_controller;
using kernel::interrupt_target;
using test::setup;
using test::status;
using test::ticks;

constexpr std::uint32_t last_line = 96;

kernel::wired_controller_description plic_described() {
    return {
        .registers = {model::plic_model::base, model::plic_model::size}, .source_count = last_line, .controllers = 1};
}

setup with_disks(std::size_t count, arch::hart_index harts = 1) {
    setup s;
    s.disks.resize(count);
    s.machine.harts = harts;
    s.machine.interrupt_storm = ~0u; // that is for the kernel to find
    s.disk.request_timeout = 30 * 10'000'000ull;
    return s;
}

// Disks whose lines the kernel knows from a device tree. Disk i interrupts by line 1 + i, as the fixture has it.
class kernel_world : public test::world {
  public:
    explicit kernel_world(setup s) : world{std::move(s)}, plic{host, last_line} {
        said.clear();
        for (arch::hart_index hart_index = 0; hart_index < host.harts(); ++hart_index) {
            host.select_hart(hart_index);
            BOOST_TEST(interrupts.open(described(hart_index)));
        }
        host.select_hart(0);
    }

    // The base checks while it is destroyed, and what this adds, which has timers, is gone by then.
    ~kernel_world() {
        if (checked_at_end)
            check_end();
        checked_at_end = false;
    }

    // Starts all disks, with the lines of the tree.
    void start_with(const std::vector<std::uint32_t>& tree, interrupt_target target = interrupt_target::this_hart) {
        start_all();
        for (std::size_t i = 0; i < devices.size(); ++i) {
            host.line_handler(devices[i].model->configuration().line, {}); // not the fixture's
            host.enable_line(devices[i].model->configuration().line, false);
        }
        for (std::size_t i = 0; i < devices.size(); ++i) {
            const char name[] = {'v', 'd', static_cast<char>('a' + i), '\0'};
            lines.push_back(std::make_unique<kernel::disk_interrupts>(name, disk(i), tree.at(i)));
            lines.back()->begin(interrupts, target);
        }
    }

    // Reads from all disks at the same time, with one request each; how long it took.
    ticks read_all(unsigned reads) { return read_some(0, devices.size(), reads); }
    ticks read_alone(std::size_t i, unsigned reads) { return read_some(i, i + 1, reads); }

    ticks read_some(std::size_t first, std::size_t last, unsigned reads) {
        const ticks start = host.time();
        std::vector<std::span<std::byte>> buffers;
        for (std::size_t i = 0; i < devices.size(); ++i)
            buffers.push_back(buffer(512));
        auto work = [&](std::size_t i) -> task<void> {
            for (unsigned n = 0; n < reads; ++n) {
                const std::uint64_t sector = n * 7 % 1000;
                std::memset(buffers[i].data(), 0xee, 512);
                const status outcome = co_await disk(i).read(sector, buffers[i]);
                BOOST_TEST(outcome == status::ok);
                BOOST_TEST(test::same(buffers[i], on_disk(sector, 1, i)));
            }
        };
        for (std::size_t i = first; i < last; ++i)
            spawn(work(i));
        finish();
        return host.time() - start;
    }

    // How often the console has said it.
    static std::ptrdiff_t notes(const std::string& pattern) {
        const std::regex wanted{pattern};
        return std::distance(std::sregex_iterator{said.begin(), said.end(), wanted}, std::sregex_iterator{});
    }

    // Lines may stay high, and a disk that is polled is not served by its line: then nothing is to be checked of it.
    void not_checked() { checked_at_end = false; }

    template <typename T>
    using task = async::task<T>;

    static kernel::hart_description described(arch::hart_index hart_index) {
        kernel::hart_description hart;
        hart.wired_target = model::plic_model::context_of(hart_index);
        return hart;
    }

    model::plic_model plic;
    kernel::plic_controller interrupts{plic_described()};
    std::vector<std::unique_ptr<kernel::disk_interrupts>> lines;
};

// How long reads take where nothing is wrong.
ticks usual_time(std::size_t disks, unsigned reads) {
    std::vector<std::uint32_t> tree(disks);
    for (std::size_t i = 0; i < disks; ++i)
        tree[i] = static_cast<std::uint32_t>(1 + i);
    kernel_world w{with_disks(disks)};
    w.start_with(tree);
    const ticks time = w.read_all(reads);
    w.not_checked();
    return time;
}

} // namespace

BOOST_AUTO_TEST_SUITE(kernel_interrupts)

BOOST_AUTO_TEST_CASE(lines_that_are_told_rightly_say_nothing) {
    for (const interrupt_target target : {interrupt_target::this_hart, interrupt_target::all_harts}) {
        kernel_world w{with_disks(3)};
        w.start_with({1, 2, 3}, target);
        w.read_all(300);
        w.settle();
        w.read_all(300);
        BOOST_TEST(said == "");
        for (std::size_t i = 0; i < 3; ++i) {
            BOOST_TEST(w.disk(i).count().spurious == 0U);
            BOOST_TEST(w.disk(i).count().lost_interrupts == 0U);
            BOOST_TEST(w.disk(i).count().interrupts >= 600U);
            BOOST_TEST(!w.plic.masked(static_cast<std::uint32_t>(1 + i)));
        }
    }
}

// Once interrupts are known to arrive, nobody looks any more.
BOOST_AUTO_TEST_CASE(a_proven_line_is_left_alone) {
    kernel_world w{with_disks(1)};
    w.start_with({1});
    w.read_all(10);
    w.host.run_until(w.host.time() + arch::ticks_per_second());
    while (w.hart.tick()) {
    }
    const std::uint64_t looks = kernel::disk_interrupts::looks();
    w.host.run_until(w.host.time() + 10 * arch::ticks_per_second());
    while (w.hart.tick()) {
    }
    BOOST_TEST(kernel::disk_interrupts::looks() == looks);
}

BOOST_AUTO_TEST_CASE(swapped_lines_are_served_as_fast_and_said_once) {
    constexpr unsigned reads = 500;
    const ticks usual = usual_time(2, reads);
    kernel_world w{with_disks(2)};
    w.start_with({2, 1});
    for (const std::size_t i : {0u, 1u, 0u, 1u}) {
        const ticks time = w.read_alone(i, reads);
        BOOST_TEST(time < 2 * usual, time << " ticks, usually " << usual);
        w.host.run_until(w.host.time() + arch::ticks_per_second());
    }
    BOOST_TEST(w.notes("note: vda interrupts on line 1, but the device tree says 2: it is served anyway\n") == 1);
    BOOST_TEST(w.notes("note: vdb interrupts on line 2, but the device tree says 1: it is served anyway\n") == 1);
    BOOST_TEST(w.notes("note:") == 2);
    BOOST_TEST(w.disk(0).count().lost_interrupts == 0U);
}

// Disks that work in step have often completed something just when another one interrupts: by the line that the tree gives
// them, it seems. They are served all the same, and also when they work alone after that.
BOOST_AUTO_TEST_CASE(swapped_lines_of_disks_in_step_are_served_too) {
    for (const std::vector<std::uint32_t>& tree : {std::vector<std::uint32_t>{2, 1}, {2, 3, 1}}) {
        const ticks usual = usual_time(tree.size(), 500);
        kernel_world w{with_disks(tree.size())};
        w.start_with(tree);
        BOOST_TEST(w.read_all(500) < 2 * usual);
        w.host.run_until(w.host.time() + arch::ticks_per_second());
        w.read_all(10);
        BOOST_TEST(w.notes("note: vd[abc] interrupts on line [123]") >= 1);
        BOOST_TEST(w.notes("note:") <= static_cast<std::ptrdiff_t>(tree.size()));
        for (std::size_t i = 0; i < tree.size(); ++i)
            BOOST_TEST(w.read_alone(i, 500) < 2 * usual);
        BOOST_TEST(w.notes("polled") == 0);
    }
}

// The tree names a line that no device has, and the device's own is not enabled: nothing arrives.
BOOST_AUTO_TEST_CASE(a_line_to_nowhere_is_found_and_the_disk_polled) {
    kernel_world w{with_disks(2)};
    w.start_with({40, 2});
    w.read_all(50);
    BOOST_TEST(w.notes("note: no interrupt of vda arrives on line 40, which the device tree gives: it is polled\n") ==
               1);
    BOOST_TEST(w.notes("note:") == 1);
    const ticks time = w.read_all(500);
    // Twice the time that a request takes here, or a few looks; never the watch of the driver, which comes in seconds.
    BOOST_TEST(time / 500 < arch::ticks_per_second() / 1000, time << " ticks");
    BOOST_TEST(w.disk(0).count().resets == 0U);
    w.not_checked();
}

BOOST_AUTO_TEST_CASE(a_disk_without_a_line_is_polled) {
    for (const std::uint32_t line : {0u, last_line + 1, 1023u, ~0u}) {
        kernel_world w{with_disks(2)};
        w.start_with({line, 2});
        const ticks time = w.read_all(500);
        BOOST_TEST(time / 500 < arch::ticks_per_second() / 1000, time << " ticks");
        BOOST_TEST(
            w.notes(
                line == 0
                    ? "note: vda has no interrupt in the device tree: it is polled\n"
                    : "note: the device tree gives vda line [0-9]+, which the interrupt controller does not have: it "
                      "is polled\n") == 1);
        BOOST_TEST(w.notes("note:") == 1);
        BOOST_TEST(w.disk(0).count().interrupts == 0U);
        BOOST_TEST(w.disk(0).count(0).interrupts == 0U); // what looks find is none
        w.not_checked();
    }
}

// Somebody else on the line, who never lets go of it: with a level-sensitive line the hart comes to nothing else.
BOOST_AUTO_TEST_CASE(a_line_that_interrupts_for_no_reason_is_masked) {
    kernel_world w{with_disks(2)};
    w.start_with({1, 2});
    w.read_all(10);
    const std::uint64_t before = w.plic.claims(1);
    w.host.run_as_device([&] { w.host.raise_line(1); });
    BOOST_TEST(w.plic.masked(1));
    BOOST_TEST(w.plic.claims(1) - before == interrupt_controller::max_without_cause);
    const ticks time = w.read_all(500);
    BOOST_TEST(time / 500 < arch::ticks_per_second() / 1000, time << " ticks");
    BOOST_TEST(w.notes("note: line 1 keeps interrupting for no reason: it is masked, and vda is polled\n") == 1);
    BOOST_TEST(w.notes("note:") == 1);
    BOOST_TEST(!w.plic.masked(2));
    w.not_checked();
}

BOOST_AUTO_TEST_CASE(a_device_that_does_not_stop_interrupting_is_masked) {
    for (const std::uint32_t version : {1U, 2U}) {
        setup s = with_disks(2);
        s.disks[0].version = version;
        kernel_world w{s};
        w.start_with({1, 2});
        w.read_all(10);
        const std::uint64_t before = w.plic.claims(1);
        w.model().inject(model::fault::interrupt_stuck, 0, model::forever);
        const ticks time = w.read_all(500);
        BOOST_TEST(time < arch::ticks_per_second(), time << " ticks");
        BOOST_TEST(w.plic.masked(1));
        BOOST_TEST(w.plic.claims(1) - before <=
                   interrupt_controller::max_without_progress + interrupt_controller::claims_per_check);
        BOOST_TEST(w.notes("note: line 1 does not stop interrupting: it is masked, and vda is polled\n") == 1);
        BOOST_TEST(w.notes("note:") == 1);
        w.not_checked();
    }
}

// An interrupt without a cause here and there is no storm, nor is many in a row if there is one with a cause in between.
BOOST_AUTO_TEST_CASE(a_few_interrupts_without_a_cause_mask_nothing) {
    kernel_world w{with_disks(2)};
    w.start_with({1, 2});
    for (int round = 0; round < 8; ++round) {
        for (std::uint32_t i = 1; i < interrupt_controller::max_without_cause; ++i) {
            w.host.run_as_device([&] {
                w.host.raise_line(1);
                w.host.after(1, [&] { w.host.lower_line(1); });
            });
            w.host.run_until(w.host.time() + 10);
        }
        w.read_all(1);
    }
    BOOST_TEST(!w.plic.masked(1));
    BOOST_TEST(said == "");
}

BOOST_AUTO_TEST_CASE(a_shared_line_serves_all_its_disks) {
    setup s = with_disks(3);
    kernel_world w{s};
    // Disk 1 and 2 are wired to the line of disk 0.
    w.start_all();
    bool high[3] = {};
    for (std::size_t i = 0; i < 3; ++i) {
        w.host.line_handler(static_cast<unsigned>(1 + i), {});
        w.host.enable_line(static_cast<unsigned>(1 + i), false);
    }
    w.host.on_step([] {});
    for (std::size_t i = 0; i < 3; ++i) {
        const char name[] = {'v', 'd', static_cast<char>('a' + i), '\0'};
        w.lines.push_back(std::make_unique<kernel::disk_interrupts>(name, w.disk(i), 50));
        w.lines.back()->begin(w.interrupts, interrupt_target::this_hart);
    }
    // A gate that makes one level of three, as wiring does.
    std::function<void()> wire = [&] {
        bool any = false;
        for (unsigned i = 0; i < 3; ++i) {
            high[i] = w.host.line_high(1 + i);
            any |= high[i];
        }
        any ? w.host.raise_line(50) : w.host.lower_line(50);
        w.host.after(5, wire);
    };
    w.host.after(5, wire);
    w.read_all(300);
    BOOST_TEST(said == "");
    for (std::size_t i = 0; i < 3; ++i)
        BOOST_TEST(w.disk(i).count().lost_interrupts == 0U);
    BOOST_TEST(!w.plic.masked(50));
    w.not_checked();
}

// What was enabled before the kernel came, by the firmware or another kernel, is not enabled any more.
BOOST_AUTO_TEST_CASE(a_context_begins_without_lines) {
    kernel_world w{with_disks(1)};
    const std::uintptr_t enables = model::plic_model::base + 0x2000 + 0x80 * model::plic_model::context_of(0);
    for (std::uint32_t word = 0; word <= last_line / 32; ++word)
        arch::mmio_write32(enables + 4 * word, word == 0 ? ~1u : word == last_line / 32 ? 1u : ~0u);
    BOOST_TEST(w.interrupts.open(w.described(0)));
    for (std::uint32_t line = 1; line <= last_line; ++line)
        BOOST_TEST(!w.plic.enabled(line, 0));
}

// A hart without a context of its own sends its devices' interrupts to one that has one.
BOOST_AUTO_TEST_CASE(a_hart_without_a_context_uses_another_one) {
    kernel::plic_controller interrupts{plic_described()};
    kernel_world w{with_disks(1, 3)};
    BOOST_TEST(!interrupts.open({})); // of hart 0
    for (const arch::hart_index hart : {1u, 2u}) {
        w.host.select_hart(hart);
        BOOST_TEST(interrupts.open(w.described(hart)));
    }
    w.host.select_hart(0);
    kernel::interrupt_connection one;
    kernel::interrupt_connection all;
    one.serve = all.serve = [](void*) noexcept {
        return true;
    };
    BOOST_TEST(interrupts.connect(7, interrupt_target::this_hart, one));
    BOOST_TEST(!w.plic.enabled(7, 0));
    BOOST_TEST(w.plic.enabled(7, 1));
    BOOST_TEST(!w.plic.enabled(7, 2));
    BOOST_TEST(interrupts.connect(8, interrupt_target::all_harts, all));
    BOOST_TEST(!w.plic.enabled(8, 0));
    BOOST_TEST(w.plic.enabled(8, 1));
    BOOST_TEST(w.plic.enabled(8, 2));
    BOOST_TEST(!interrupts.connect(9, interrupt_target::all_harts, one)); // connected to 7
    w.not_checked();
}

BOOST_AUTO_TEST_CASE(what_cannot_be_connected_is_refused) {
    kernel::plic_controller interrupts{plic_described()};
    kernel_world w{with_disks(1, 2)};
    BOOST_TEST(interrupts.open(w.described(0)));
    kernel::interrupt_connection device;
    device.serve = [](void*) noexcept {
        return true;
    };
    for (const std::uint32_t source : {0u, last_line + 1, 1023u, 1024u, ~0u})
        BOOST_TEST(!interrupts.connect(source, 0, device));
    BOOST_TEST(!interrupts.connect(7, 1, device)); // has not opened it
    BOOST_TEST(!interrupts.connect(7, 2, device)); // does not exist
    BOOST_TEST(!w.plic.enabled(7, 1));
    BOOST_TEST(interrupts.connect(7, 0, device));
    BOOST_TEST(interrupts.connect(7, 0, device)); // again, which changes nothing
    BOOST_TEST(!interrupts.connect(8, 0, device));
    BOOST_TEST(!w.plic.enabled(8, 0));
    w.not_checked();
}

// Two harts take the interrupt of a line that both see, and one of them claims it.
BOOST_AUTO_TEST_CASE(an_interrupt_that_another_hart_has_claimed_is_spurious) {
    constexpr std::uint32_t raised = 5;
    std::uint64_t spurious = 0;
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        arch::host::machine simulated{{.harts = 2, .seed = seed}};
        const model::plic_model plic{simulated, last_line};
        kernel::plic_controller interrupts{plic_described()};
        struct device : kernel::interrupt_connection {
            explicit device(arch::host::machine& of) : machine{of} {
                context = this;
                serve = [](void* self) noexcept {
                    auto& served = *static_cast<device*>(self);
                    served.machine.lower_line(7);
                    served.times.fetch_add(1);
                    arch::interrupt_hart(1 - arch::this_hart());
                    return true;
                };
            }
            arch::host::machine& machine;
            arch::atomic<unsigned> times{0};
        } served{simulated};
        for (const arch::hart_index hart : {1u, 0u}) {
            simulated.select_hart(hart);
            BOOST_TEST(interrupts.open(kernel_world::described(hart)));
        }
        for (const arch::hart_index hart : {0u, 1u})
            BOOST_TEST(interrupts.connect(7, hart, served));
        for (std::uint32_t i = 0; i < raised; ++i)
            simulated.at(1000 + i * 10'000, [&] { simulated.raise_line(7); });
        const auto body = [&] {
            const arch::interrupts_masked masked;
            while (served.times.load() != raised) {
                arch::wait_for_interrupt();
                arch::restore_interrupts(true);
                static_cast<void>(arch::mask_interrupts());
            }
        };
        BOOST_REQUIRE_MESSAGE(simulated.run({body, body}) == arch::host::run_end::finished, simulated.describe());
        BOOST_TEST(served.times.load() == raised);
        BOOST_TEST(plic.claims(7) == raised);
        BOOST_TEST(interrupts.spurious() == simulated.interrupts_taken() - simulated.software_interrupts_taken(0) -
                                                simulated.software_interrupts_taken(1) - raised);
        spurious += interrupts.spurious();
    }
    BOOST_TEST(spurious > 0U);
}

BOOST_AUTO_TEST_SUITE_END()
