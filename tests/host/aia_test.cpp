// The interrupt controllers of the Advanced Interrupt Architecture: which hart takes what, and what is claimed when.

#include "src/kernel/aplic_controller.hpp"
#include "src/kernel/imsic_controller.hpp"
#include "tests/model/aia_model.hpp"

#include <boost/test/unit_test.hpp>
#include <functional>
#include <vector>

// The registers of the calling hart.
namespace inflight::arch::imsic {

void write(indirect which, std::uint64_t value) noexcept {
    model::imsic_model::current().write(static_cast<std::uint64_t>(which), value);
}
void clear_bits(indirect which, std::uint64_t bits) noexcept {
    model::imsic_model::current().clear(static_cast<std::uint64_t>(which), bits);
}
std::uint64_t claim() noexcept {
    return model::imsic_model::current().claim();
}
bool has_pending() noexcept {
    return model::imsic_model::current().has_pending();
}
void take_software_interrupts(std::uintptr_t file) noexcept {
    model::imsic_model::current().software_register = file;
}
void handle_software_interrupt() noexcept {
    model::imsic_model::current().software_handled.push_back(arch::this_hart());
}

} // namespace inflight::arch::imsic

namespace {

using namespace inflight;
using kernel::interrupt_connection;
using kernel::interrupt_controller;
using kernel::interrupt_storm;
using kernel::interrupt_target;
using model::aplic_model;
using model::imsic_model;

constexpr std::uint32_t wires = 96;
constexpr unsigned limit = interrupt_controller::max_without_cause;

kernel::wired_controller_description described(std::uint32_t sources = wires) {
    return {.kind = kernel::wired_controller_kind::aplic_imsic,
            .registers = {aplic_model::base, aplic_model::size},
            .source_count = sources,
            .controllers = 1};
}

struct device : interrupt_connection {
    device() {
        context = this;
        serve = [](void* self) noexcept {
            auto& served = *static_cast<device*>(self);
            served.by.push_back(arch::this_hart());
            if (served.on_service) {
                served.on_service();
            }
            return served.has_cause;
        };
        interrupt_connection::masked = [](interrupt_connection& self, std::uint32_t masked_source,
                                          interrupt_storm why) noexcept {
            static_cast<device&>(self).told.emplace_back(masked_source, why);
        };
    }
    bool has_cause = true;
    std::function<void()> on_service;
    std::vector<arch::hart_index> by; // the harts that have served it
    std::vector<std::pair<std::uint32_t, interrupt_storm>> told;
};

using harts = std::vector<arch::hart_index>;

struct machine : arch::host::machine {
    explicit machine(arch::hart_index count) : arch::host::machine{{.harts = count}} {}
    ~machine() { BOOST_TEST(violations().empty(), describe()); }

    // The simulated machine takes interrupts of the selected hart only.
    void let_all_harts_run() {
        for (arch::hart_index hart = harts(); hart-- > 0;) {
            select_hart(hart);
        }
    }

    // On each hart. Returns on how many it succeeded.
    unsigned open(interrupt_controller& by, bool files) {
        unsigned opened = 0;
        for (arch::hart_index hart = 0; hart < harts(); ++hart) {
            select_hart(hart);
            kernel::hart_description self;
            self.wired_target = hart;
            self.interrupt_file = files ? imsic_model::file_of(hart) : 0;
            opened += by.open(self) ? 1 : 0;
        }
        select_hart(0);
        return opened;
    }
};

struct with_imsic {
    explicit with_imsic(arch::hart_index count = 2, std::uint32_t ids = 255, std::uint32_t sources = wires)
        : host{count},
          imsic{host, ids},
          aplic{host, sources, &imsic},
          interrupts{described(sources), {.phandle = 0, .id_count = ids}} {
        for (std::uint32_t id : {5U, 63U}) {
            imsic.make_pending(0, id);
        }
        aplic.enable_by_firmware(7);
        BOOST_TEST(host.open(interrupts, true) == count);
        BOOST_TEST(!aplic.enabled(7));
    }
    kernel::interrupt_message message(arch::hart_index hart, device& to) {
        const auto made = interrupts.allocate_message(hart);
        BOOST_REQUIRE(made.has_value());
        BOOST_TEST(interrupts.connect(made->source, hart, to));
        return *made;
    }
    void send(const kernel::interrupt_message& what) { send(what.address, what.data); }
    void send(std::uint64_t address, std::uint32_t id) {
        imsic.send(address, id);
        host.let_all_harts_run();
    }
    void set_wire(std::uint32_t source, bool high) {
        aplic.set_wire(source, high);
        host.let_all_harts_run();
    }

    machine host;
    imsic_model imsic;
    aplic_model aplic;
    kernel::imsic_controller interrupts;
    device first;
    device second;
};

struct with_aplic {
    with_aplic() : host{2}, aplic{host, wires}, interrupts{described()} {
        aplic.enable_by_firmware(7);
        BOOST_TEST(host.open(interrupts, false) == 2U);
        BOOST_TEST(!aplic.enabled(7));
    }
    // The device lowers its wire when it is served.
    void lowers(device& served, std::uint32_t source) {
        served.on_service = [this, source] {
            aplic.set_wire(source, false);
        };
    }
    void set_wire(std::uint32_t source, bool high) {
        aplic.set_wire(source, high);
        host.let_all_harts_run();
    }
    machine host;
    aplic_model aplic;
    kernel::aplic_controller interrupts;
    device first;
    device second;
};

} // namespace

BOOST_AUTO_TEST_SUITE(aia_test)

BOOST_AUTO_TEST_CASE(a_message_is_served_by_its_hart) {
    with_imsic w;
    const auto one = w.message(0, w.first);
    const auto other = w.message(1, w.second);
    BOOST_TEST(one.source == wires + 1);
    BOOST_TEST(other.source == wires + 2);
    BOOST_TEST(one.address == imsic_model::file_of(0));
    BOOST_TEST(other.address == imsic_model::file_of(1));
    BOOST_TEST(one.data == other.data); // the same identity on two harts is two interrupts
    for (unsigned i = 0; i < 3; ++i) {
        w.send(one);
        w.send(other);
        w.send(other);
    }
    BOOST_TEST((w.first.by == harts{0, 0, 0}));
    BOOST_TEST((w.second.by == harts{1, 1, 1, 1, 1, 1}));
    BOOST_TEST(w.interrupts.spurious() == 0U);
    // A source is a hart's own.
    BOOST_TEST(!w.interrupts.connect(one.source, 1, w.first));
}

// QEMU before 9.1.
BOOST_AUTO_TEST_CASE(a_message_whose_interrupt_is_lost_during_a_claim_is_served) {
    with_imsic w;
    const auto one = w.message(0, w.first);
    const auto other = w.message(0, w.second);
    w.imsic.lost_during_claim = other.data;
    w.send(one);
    BOOST_TEST((w.first.by == harts{0}));
    BOOST_TEST((w.second.by == harts{0}));
    BOOST_TEST(w.interrupts.spurious() == 0U);
}

BOOST_AUTO_TEST_CASE(identities_and_sources_end) {
    for (const std::uint32_t ids : {63U, 255U, 2047U}) {
        with_imsic w{1, ids};
        BOOST_TEST(w.imsic.threshold(0) == (ids == 63 ? 0U : 256U));
        unsigned count = 0;
        for (std::set<std::uint32_t> seen; const auto made = w.interrupts.allocate_message(0); ++count) {
            BOOST_TEST(made->data > kernel::imsic_controller::software_id);
            BOOST_TEST(seen.insert(made->data).second);
            BOOST_TEST(w.imsic.enabled(0, made->data));
        }
        BOOST_TEST(count == std::min(ids, 255U) - 1);
        BOOST_TEST(!w.interrupts.connect(3, 0, w.first)); // a wire needs an identity, too
        BOOST_TEST(!w.interrupts.allocate_message(1));
    }
    with_imsic w{1, 255, 1020};
    for (unsigned i = 0; i < 3; ++i) {
        BOOST_TEST(w.interrupts.allocate_message(0).has_value());
    }
    BOOST_TEST(!w.interrupts.allocate_message(0));
}

BOOST_AUTO_TEST_CASE(a_hart_without_a_file_takes_nothing) {
    with_imsic w{1};
    machine& host = w.host;
    kernel::imsic_controller interrupts{described(), {.phandle = 0, .id_count = 255}};
    BOOST_TEST(host.open(interrupts, false) == 0U);
    BOOST_TEST(!interrupts.allocate_message(0));
    BOOST_TEST(!interrupts.connect(3, 0, w.first));
}

BOOST_AUTO_TEST_CASE(a_wire_that_stays_high_is_served_again) {
    for (const bool as_qemu_before_9 : {false, true}) {
        with_imsic w;
        w.aplic.as_qemu_before_9 = as_qemu_before_9;
        BOOST_TEST(w.interrupts.connect(3, 1, w.first));
        BOOST_TEST((w.aplic.target(3) == (1U << 18 | 2)));
        unsigned rest = 3;
        w.first.on_service = [&] {
            w.aplic.set_wire(3, --rest != 0);
        };
        w.set_wire(3, true);
        BOOST_TEST((w.first.by == harts{1, 1, 1}));
        BOOST_TEST(w.aplic.made_pending() == 2U); // not for the low wire, which QEMU before 9.0 takes for an interrupt
        rest = 1;
        w.set_wire(3, true);
        BOOST_TEST(w.first.by.size() == 4U);
    }
}

BOOST_AUTO_TEST_CASE(a_wire_has_one_hart) {
    with_imsic w;
    BOOST_TEST(w.interrupts.connect(3, interrupt_target::all_harts, w.first));
    BOOST_TEST((w.aplic.target(3) >> 18) == 0U);
    BOOST_TEST(!w.interrupts.connect(3, 1, w.first));
    // A second device, of another hart, shares the first one's.
    w.host.select_hart(1);
    BOOST_TEST(w.interrupts.connect(3, interrupt_target::this_hart, w.second));
    w.host.select_hart(0);
    w.first.on_service = [&] {
        w.aplic.set_wire(3, false);
    };
    w.set_wire(3, true);
    BOOST_TEST((w.first.by == harts{0}));
    BOOST_TEST((w.second.by == harts{0}));
    BOOST_TEST(!w.interrupts.connect(0, 0, w.first));
    BOOST_TEST(!w.interrupts.connect(wires + 1, 0, w.first)); // no message yet
}

BOOST_AUTO_TEST_CASE(other_harts_interrupt_by_identity_1) {
    with_imsic w;
    BOOST_TEST(w.imsic.software_register == imsic_model::file_of(1)); // of the hart that opened last
    w.send(imsic_model::file_of(1), 1);
    w.send(imsic_model::file_of(0), 1);
    BOOST_TEST((w.imsic.software_handled == harts{1, 0}));
    BOOST_TEST(w.interrupts.spurious() == 0U);
}

BOOST_AUTO_TEST_CASE(a_message_without_end_is_masked_by_its_hart) {
    with_imsic w;
    const auto bad = w.message(1, w.first);
    const auto good = w.message(1, w.second);
    w.first.has_cause = w.second.has_cause = false;
    for (unsigned i = 0; i < limit + 5; ++i) {
        w.send(bad);
    }
    BOOST_TEST(w.first.by.size() == limit);
    BOOST_REQUIRE(w.first.told.size() == 1U);
    BOOST_TEST(w.first.told[0].first == bad.source);
    BOOST_TEST(!w.imsic.enabled(1, bad.data));
    w.second.has_cause = true;
    const std::size_t before = w.second.by.size(); // it was asked for a cause, too
    w.send(good);
    BOOST_TEST(w.second.by.size() == before + 1);
}

BOOST_AUTO_TEST_CASE(a_wire_without_a_cause_is_masked) {
    with_imsic w;
    BOOST_TEST(w.interrupts.connect(3, 1, w.first));
    w.first.has_cause = false;
    w.set_wire(3, true);
    BOOST_TEST(w.first.by.size() == limit);
    BOOST_TEST(!w.aplic.enabled(3));
    BOOST_TEST(w.first.told.size() == 1U);
}

BOOST_AUTO_TEST_CASE(messages_without_a_source_close_the_hart_and_cost_nothing_else) {
    with_imsic w;
    const auto good = w.message(1, w.first);
    w.first.has_cause = false;
    for (unsigned i = 0; i < limit - 1; ++i) {
        w.send(imsic_model::file_of(1), 200);
    }
    BOOST_TEST(w.imsic.enabled(1, 200));
    w.send(imsic_model::file_of(1), 200);
    for (const std::uint32_t id : {3U, 63U, 64U, 200U, 255U}) {
        BOOST_TEST(!w.imsic.enabled(1, id), id);
        BOOST_TEST(w.imsic.enabled(0, id), id);
    }
    BOOST_TEST(w.imsic.enabled(1, 1));
    BOOST_TEST(w.imsic.enabled(1, good.data));
    BOOST_TEST(w.first.told.empty());
    w.first.has_cause = true;
    const std::size_t before = w.first.by.size();
    w.send(good);
    w.send(imsic_model::file_of(1), 1);
    BOOST_TEST(w.first.by.size() == before + 1);
    BOOST_TEST((w.imsic.software_handled == harts{1}));
    // What could not be enabled any more is not handed out.
    BOOST_TEST(!w.interrupts.allocate_message(1));
    BOOST_TEST(!w.interrupts.connect(3, 1, w.second));
    BOOST_TEST(w.interrupts.allocate_message(0).has_value());
}

BOOST_AUTO_TEST_CASE(a_wrong_message_finds_its_device) {
    with_imsic w;
    static_cast<void>(w.message(1, w.first));
    w.send(imsic_model::file_of(1), 77);
    BOOST_TEST((w.first.by == harts{1}));
    BOOST_TEST(w.first.strayed.load() == 1U);
}

BOOST_AUTO_TEST_CASE(an_aplic_of_the_other_mode_is_not_used) {
    machine host{1};
    imsic_model imsic{host, 255};
    aplic_model aplic{host, wires, &imsic};
    aplic.other_mode = true;
    kernel::imsic_controller interrupts{described(), {.phandle = 0, .id_count = 255}};
    BOOST_TEST(host.open(interrupts, true) == 1U); // for messages
    device first;
    BOOST_TEST(!interrupts.connect(3, 0, first));
    BOOST_TEST(interrupts.allocate_message(0).has_value());
    kernel::aplic_controller direct{described()};
    aplic.other_mode = false;
    BOOST_TEST(host.open(direct, false) == 0U);
}

BOOST_FIXTURE_TEST_CASE(direct_mode_interrupts_the_hart_that_is_connected, with_aplic) {
    BOOST_TEST(interrupts.connect(3, 1, first));
    BOOST_TEST(interrupts.connect(4, interrupt_target::all_harts, second));
    lowers(first, 3);
    lowers(second, 4);
    for (unsigned i = 0; i < 3; ++i) {
        set_wire(3, true);
        set_wire(4, true);
    }
    // Once each: a claim before the service would leave the source pending.
    BOOST_TEST((first.by == harts{1, 1, 1}));
    BOOST_TEST((second.by == harts{0, 0, 0}));
    BOOST_TEST(interrupts.spurious() == 0U);
    BOOST_TEST(!interrupts.connect(3, 0, first)); // one target
    BOOST_TEST(!interrupts.connect(wires + 1, 0, second));
    BOOST_TEST(!interrupts.allocate_message(0));
}

BOOST_FIXTURE_TEST_CASE(direct_mode_serves_a_wire_until_it_is_low, with_aplic) {
    BOOST_TEST(interrupts.connect(3, 0, first));
    BOOST_TEST(interrupts.connect(2, 0, second));
    lowers(second, 2);
    unsigned rest = 3;
    first.on_service = [&] {
        if (rest == 3) {
            aplic.set_wire(2, true); // of a higher priority: the claim takes it, and it stays pending
        }
        aplic.set_wire(3, --rest != 0);
    };
    set_wire(3, true);
    BOOST_TEST(first.by.size() == 3U);
    BOOST_TEST(second.by.size() == 1U);
}

BOOST_FIXTURE_TEST_CASE(direct_mode_masks_a_wire_without_a_cause, with_aplic) {
    BOOST_TEST(interrupts.connect(3, 0, first));
    first.has_cause = false;
    set_wire(3, true);
    BOOST_TEST(first.by.size() == limit);
    BOOST_TEST(!aplic.enabled(3));
}

BOOST_AUTO_TEST_SUITE_END()
