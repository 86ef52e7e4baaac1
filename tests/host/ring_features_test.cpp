// The features of ring and transport, one by one: each is accepted where the device offers it and the transport can carry it,
// and not where it is switched off; and with each of them, on MMIO and on PCI, split and packed, the driver does what it has
// to. The models report whatever the specification does not permit, and each world fails its test for that when it ends.
#include "tests/host/disk_setups.hpp"
#include "tests/host/random_work.hpp"

#include <ostream>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::test;
using virtio::error;

enum class bus { mmio, pci };

// Where a device is, and what its rings are like.
struct place {
    bus on;
    std::uint16_t vectors;
    bool packed;
    bool event_idx;
};

std::ostream& operator<<(std::ostream& out, const place& where) {
    return out << (where.on == bus::mmio ? "MMIO" : "PCI") << ", " << where.vectors << " vectors"
               << (where.packed ? ", packed" : ", split") << (where.event_idx ? "" : ", no EVENT_IDX");
}

std::vector<place> places() {
    std::vector<place> all;
    for (const bool packed : {false, true})
        for (const bool event_idx : {true, false}) {
            all.push_back({bus::mmio, 0, packed, event_idx});
            all.push_back({bus::pci, 0, packed, event_idx});
            all.push_back({bus::pci, 4, packed, event_idx});
        }
    return all;
}

constexpr unsigned queues = 3;

setup at_place(const place& where, std::uint64_t features, const std::function<void(blk_configuration&)>& change = {}) {
    setup s = of_version(2, [&](blk_configuration& c) {
        c.queues = queues;
        c.queue_size_max = 8;
        c.superfluous_permitted = 0;
        c.features = features_of(c) | features | (where.packed ? bit(bits::ring_packed) : 0);
        if (!where.event_idx)
            withdraw(c, bits::event_idx);
        if (where.on == bus::pci)
            c.pci.emplace().vectors = where.vectors;
        if (change)
            change(c);
    });
    s.vectors = where.vectors;
    return s;
}

// Requests of all kinds, a reset with requests in flight, and requests again.
void use(world& w) {
    exercise(w);
    read_a_lot(w, 24, 12); // many laps of the rings
    const std::uint64_t resets = w.disk().count().resets;
    w.model().raise_needs_reset();
    w.settle();
    BOOST_TEST(w.disk().count().resets == resets + 1);
    read_a_lot(w, 24, 12); // many laps of the rings
}

// Whether a feature that is offered there is one that the driver accepts.
bool is_accepted(unsigned number, const place& where) {
    return number != bits::notif_config_data || where.on == bus::pci;
}

constexpr unsigned numbers[] = {bits::access_platform,   bits::order_platform, bits::notification_data,
                                bits::notif_config_data, bits::ring_reset,     bits::in_order};

} // namespace

BOOST_AUTO_TEST_SUITE(ring_features)

BOOST_AUTO_TEST_CASE(each_feature_is_on_where_it_is_offered) {
    for (const place& where : places())
        for (const unsigned number : numbers)
            BOOST_TEST_CONTEXT(where << ", feature " << number) {
                world w{at_place(where, bit(number))};
                w.start_all();
                BOOST_TEST(w.model().accepted(number) == is_accepted(number, where));
                use(w);
            }
}

BOOST_AUTO_TEST_CASE(each_feature_can_be_switched_off) {
    for (const place& where : places())
        for (const unsigned number : numbers)
            BOOST_TEST_CONTEXT(where << ", feature " << number) {
                setup s = at_place(where, bit(number), [](blk_configuration& c) {
                    c.tolerated.insert({"RSVD-03", "RSVD-07", "RSVD-13"}); // a driver should accept these
                });
                s.disk.features_off = bit(number);
                world w{s};
                w.start_all();
                BOOST_TEST(!w.model().accepted(number));
                use(w);
            }
}

// Every fifth combination: any two features are together there, each without the other, and both off.
BOOST_AUTO_TEST_CASE(combinations_work_together) {
    for (const place& where : places())
        for (unsigned choice = 0; choice < 1U << std::size(numbers); choice += 5)
            BOOST_TEST_CONTEXT(where << ", combination " << choice) {
                std::uint64_t offered = 0;
                for (unsigned i = 0; i < std::size(numbers); ++i)
                    offered |= (choice >> i & 1) != 0 ? bit(numbers[i]) : 0;
                world w{at_place(where, offered)};
                w.start_all();
                use(w);
            }
}

// A device on PCI whose structures have no room for what a feature needs is taken without the feature.
BOOST_AUTO_TEST_CASE(what_has_no_room_in_the_structures_is_not_accepted) {
    const struct {
        unsigned number;
        std::function<void(virtio::pci_structures&)> change;
        bool accepted;
    } rows[] = {
        {bits::notification_data, [](auto& at) { at.notify_off_multiplier = 8; }, true},
        {bits::notification_data, [](auto& at) { at.notify_off_multiplier = 0; }, true},
        {bits::notification_data, [](auto& at) { at.notify_off_multiplier = 2; }, false},
        {bits::notification_data, [](auto& at) { at.notify += 2; }, false},
        {bits::notif_config_data, [](auto& at) { at.common_length = 58; }, true},
        {bits::notif_config_data, [](auto& at) { at.common_length = 57; }, false},
        {bits::notif_config_data, [](auto& at) { at.common_length = 56; }, false},
        {bits::ring_reset, [](auto& at) { at.common_length = 60; }, true},
        {bits::ring_reset, [](auto& at) { at.common_length = 59; }, false},
    };
    world w{at_place({bus::pci, 0, false, true}, 0)};
    for (const auto& row : rows) {
        virtio::pci_structures where = structures_of(w.model());
        row.change(where);
        const modern_pci_transport transport{where};
        BOOST_TEST(((transport.supported_features() & bit(row.number)) != 0) == row.accepted);
    }
    BOOST_TEST(w.model().access_count() == 0U);
    w.checked_at_end = false;
}

// The last four bytes of the notification structure are an address with NOTIFICATION_DATA, and less is not.
BOOST_AUTO_TEST_CASE(notification_data_stays_within_its_structure) {
    for (const std::uint32_t missing : {0U, 1U, 2U}) {
        world w{at_place({bus::pci, 0, false, true}, bit(bits::notification_data))};
        virtio::pci_structures where = structures_of(w.model());
        where.notify_length -= missing;
        modern_pci_transport transport{where};
        block::disk disk{transport};
        BOOST_TEST(disk.start(w.memory, {}) == (missing == 0 ? error::none : error::notify_out_of_range));
        w.checked_at_end = false;
    }
}

// Bits from 32 on are not of the legacy interface.
BOOST_AUTO_TEST_CASE(a_legacy_device_has_none_of_them) {
    for (const bool on_pci : {false, true})
        for (const unsigned number : numbers) {
            world w{of_version(1, [&](blk_configuration& c) {
                offer(c, number);
                if (on_pci)
                    c.pci.emplace();
            })};
            w.start_all();
            BOOST_TEST(!w.model().accepted(number));
            exercise(w);
        }
}

BOOST_AUTO_TEST_SUITE_END()
