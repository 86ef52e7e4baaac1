// What the model on PCI reports of a driver that is wrong at its registers, and what a driver that is right sees.
#include "tests/host/model/raw_driver.hpp"

#include <boost/test/unit_test.hpp>
#include <functional>

namespace {

using namespace inflight;
using namespace inflight::model;
using namespace inflight::tests;

constexpr std::uint64_t isr = pci_configuration::isr, config = pci_configuration::device,
                        notify = pci_configuration::notify;
constexpr std::uint16_t no_vector = 0xffff;

// The raw driver's rings and requests, with the registers of PCI. Offsets are those of the specification.
class raw_pci_driver : public raw_driver {
  public:
    raw_pci_driver(machine& m, virtio_blk_model& d) : raw_driver{m, d} {
        m.line_handler(d.configuration().line, [this] {
            ++interrupts;
            last_isr = get8(legacy() ? 19 : isr);
        });
    }

    std::uint8_t get8(std::uint64_t offset) { return arch::mmio_read8(at(offset)); }
    std::uint16_t get16(std::uint64_t offset) { return arch::mmio_read16(at(offset)); }
    std::uint32_t get32(std::uint64_t offset) { return arch::mmio_read32(at(offset)); }
    void put8(std::uint64_t offset, unsigned value) { arch::mmio_write8(at(offset), static_cast<std::uint8_t>(value)); }
    void put16(std::uint64_t offset, unsigned value) {
        arch::mmio_write16(at(offset), static_cast<std::uint16_t>(value));
    }
    void put32(std::uint64_t offset, std::uint64_t value) {
        arch::mmio_write32(at(offset), static_cast<std::uint32_t>(value));
    }

    std::uint64_t status_at() const { return legacy() ? 18 : 20; }
    void begin() {
        put8(status_at(), 0);
        while (get8(status_at()) != 0) {
        }
        put8(status_at(), 1);
        put8(status_at(), 3);
    }
    void negotiate(std::uint64_t mask) {
        accepted_ = mask;
        if (legacy()) {
            get32(0);
            return put32(4, mask);
        }
        for (unsigned word = 0; word < 2; ++word) {
            put32(0, word);
            get32(4);
        }
        for (unsigned word = 0; word < 2; ++word) {
            put32(8, word);
            put32(12, mask >> 32 * word);
        }
        put8(20, 11);
        get8(20);
    }
    void negotiate() { negotiate(sensible()); }
    void begin_set_up(std::uint64_t mask) {
        begin();
        negotiate(mask);
    }
    void begin_set_up() { begin_set_up(sensible()); }

    bool set_configuration_vector(std::uint16_t vector) {
        put16(legacy() ? 20 : 16, vector);
        return get16(legacy() ? 20 : 16) == vector;
    }
    bool set_queue_vector(std::uint16_t vector) {
        put16(legacy() ? 22 : 26, vector);
        return get16(legacy() ? 22 : 26) == vector;
    }
    void select(unsigned index) { put16(legacy() ? 14 : 22, index); }
    const virtio_blk_model& device() const { return device_; }
    void put_halves(std::uint64_t offset, const void* memory) {
        const std::uint64_t address = machine_.device_address(memory);
        put32(offset, address);
        put32(offset + 4, address >> 32);
    }
    // Up to, and not including, what makes the queue live.
    ring& prepare(unsigned index, std::uint16_t size = 8) {
        select(index);
        if (legacy()) {
            get32(8);
            return lay_out(index, get16(12));
        }
        get16(28);
        get16(24);
        put16(24, size);
        notify_at.resize(16);
        notify_at[index] = notify + std::uint64_t{get16(30)} * device_.configuration().pci->notify_multiplier;
        ring& r = lay_out(index, size);
        put_halves(32, r.descriptors);
        put_halves(40, r.available);
        put_halves(48, r.used);
        return r;
    }
    void enable(const ring& r, bool fence = true) {
        if (fence)
            arch::fence_doorbell();
        if (legacy())
            put32(8, machine_.device_address(r.descriptors) / 4096);
        else
            put16(28, 1);
    }
    void go() { put8(status_at(), legacy() ? 7 : 15); }
    // Everything, right; queue q has vector vectors[q].
    void start(const std::vector<std::uint16_t>& vectors = {}, unsigned queues = 1, std::uint16_t for_changes = 0) {
        begin_set_up();
        if (!vectors.empty())
            BOOST_TEST(set_configuration_vector(for_changes));
        rings.reserve(queues);
        for (unsigned index = 0; index < queues; ++index) {
            const ring& r = prepare(index);
            if (!vectors.empty())
                BOOST_TEST(set_queue_vector(vectors[index]));
            enable(r);
        }
        go();
    }
    // A read of one sector, whose completion is awaited by nobody.
    void submit(unsigned index = 0) {
        ring& r = rings[index];
        if (r.free.size() < 3) // all that was submitted has been completed
            for (auto& slots : r.slots) {
                r.free.insert(r.free.end(), slots.begin(), slots.end());
                slots.clear();
            }
        add(r, {{header(0, 0), 16, false}, {buffer(512), 512, true}, {status_byte(), 1, true}});
        arch::fence_publish();
        r.index = static_cast<std::uint16_t>(r.index + 1);
        store(r.available + 2, r.index);
        if (accepts(feature::event_idx)) // an interrupt for each
            store(r.available + 4 + 2 * r.size, static_cast<std::uint16_t>(r.index - 1));
        arch::fence_full();
        arch::fence_doorbell();
    }
    void tell(unsigned index = 0) {
        if (legacy())
            put16(16, index);
        else
            put16(notify_at[index], index);
        machine_.run_until(machine_.time() + 1'000);
    }

    std::vector<std::uint64_t> notify_at;
    std::uint8_t last_isr = 0;
};

struct pci_world {
    explicit pci_world(blk_configuration c = {}) : device{host, std::move(c)} {
        if (device.configuration().pci->vectors != 0)
            device.enable_msix(true);
        device.deliver_message = [this](std::uint16_t vector) {
            messages.push_back(vector);
        };
    }
    machine host;
    virtio_blk_model device;
    raw_pci_driver driver{host, device};
    std::vector<std::uint16_t> messages;
};

blk_configuration on_pci(const std::function<void(blk_configuration&)>& change = {}) {
    blk_configuration c;
    c.pci.emplace();
    c.queues = 2;
    c.queue_size_max = 16;
    if (change)
        change(c);
    return c;
}

void with_msix(blk_configuration& c) {
    c.pci->vectors = 3;
}

void legacy_device(blk_configuration& c) {
    c.version = 1;
}

using rule = broken_rule_of<pci_world>;
using action = std::function<void(raw_pci_driver&)>;

// In step 7.
std::function<void(pci_world&)> setting_up(const action& act) {
    return [act](pci_world& w) {
        w.driver.begin_set_up();
        act(w.driver);
    };
}

std::function<void(pci_world&)> running(const action& act) {
    return [act](pci_world& w) {
        w.driver.start();
        act(w.driver);
    };
}

} // namespace

BOOST_AUTO_TEST_SUITE(virtio_blk_pci_tests)

BOOST_AUTO_TEST_CASE(each_field_has_its_width_and_direction) {
    const auto read = [](std::uint64_t offset, unsigned width) {
        return setting_up([offset, width](raw_pci_driver& d) {
            width == 1 ? d.get8(offset) : width == 2 ? d.get16(offset) : d.get32(offset);
        });
    };
    const auto write = [](std::uint64_t offset, unsigned width) {
        return setting_up([offset, width](raw_pci_driver& d) {
            width == 1 ? d.put8(offset, 0) : width == 2 ? d.put16(offset, 0) : d.put32(offset, 0);
        });
    };
    std::vector<rule> rules = {
        {"PCI-05", "device_status with 32 bits", {}, read(20, 4)},
        {"PCI-05", "two fields at once", {}, read(16, 4)},
        {"PCI-05", "half of a field", {}, read(24, 1)},
        {"PCI-05", "a quarter of an address", {}, write(34, 2)},
        {"PCI-05", "queue_enable with 32 bits", {}, write(28, 4)},
        {"PCI-05", "between the structures", {}, read(0x800, 4)},
        {"PCI-05", "the ISR status with 32 bits", {}, read(isr, 4)},
        {"PCI-05", "a byte of the capacity", {}, read(config, 1)},
        {"PCI-05", "no field of the configuration", {}, read(config + 33, 1)},
        {"PCI-05", "beyond the configuration", [](auto& c) { c.pci->device_length = 8; }, read(config + 8, 4)},
        {"PCI-16", "device_feature", {}, write(4, 4)},
        {"PCI-16", "num_queues", {}, write(18, 2)},
        {"PCI-16", "config_generation", {}, write(21, 1)},
        {"PCI-16", "queue_notify_off", {}, write(30, 2)},
        {"PCI-16", "the capacity", {}, write(config, 4)},
        {"PCI-17", "queue_notif_config_data", {}, write(56, 2)},
        {"PCI-05", "the status of a legacy device with 16 bits", legacy_device, read(18, 2)},
        {"PCI-05", "the capacity where the vectors are",
         [](auto& c) {
             legacy_device(c);
             with_msix(c);
         },
         read(20, 4)},
        {"PCI-16", "the features of a legacy device", legacy_device, write(0, 4)},
        {"PCIL-08", "the size of a legacy queue", legacy_device, write(12, 2)},
    };
    check_rules(rules, on_pci());
}

BOOST_AUTO_TEST_CASE(wrong_initialisation_is_reported) {
    std::vector<rule> rules = {
        {"INIT-01",
         "no reset",
         {},
         [](pci_world& w) {
             w.driver.put8(20, 1);
         }},
        {"PCI-21",
         "does not wait for the reset",
         {},
         [](pci_world& w) {
             w.device.behave.reset_reads = 3;
             w.driver.put8(20, 0);
             w.driver.get8(20);
             w.driver.put8(20, 1);
         }},
        {"SELECT",
         "device_feature before its select",
         {},
         [](pci_world& w) {
             w.driver.begin();
             w.driver.get32(4);
         }},
        {"SELECT", "queue_size before queue_select", {}, setting_up([](raw_pci_driver& d) { d.get16(24); })},
        {"INIT-10",
         "a queue before the features",
         {},
         [](pci_world& w) {
             w.driver.begin();
             w.driver.select(0);
             w.driver.get16(24);
         }},
        {"INIT-10", "a vector before the features", with_msix,
         [](pci_world& w) {
             w.driver.begin();
             w.driver.set_configuration_vector(0);
         }},
        {"RSVD-13", "refuses NOTIF_CONFIG_DATA", [](auto& c) { c.features = usual_and(feature::notif_config_data); },
         [](pci_world& w) {
             w.driver.begin_set_up(w.driver.sensible() & ~feature::bit(feature::notif_config_data));
         }},
        {"PCI-19", "a queue of six", {}, setting_up([](raw_pci_driver& d) { d.prepare(0, 6); })},
        {"PCI-18", "a packed queue of none", [](auto& c) { c.features = usual_and(feature::ring_packed); },
         setting_up([](raw_pci_driver& d) {
             d.select(0);
             d.get16(24);
             d.put16(24, 0);
         })},
        {"PCI-47", "larger than the maximum", {}, setting_up([](raw_pci_driver& d) { d.prepare(0, 32); })},
        {"PCI-47", "a queue that does not exist", {}, setting_up([](raw_pci_driver& d) {
             d.select(2);
             d.put16(24, 8);
         })},
        {"PCI-47", "the size is not looked at", {}, setting_up([](raw_pci_driver& d) {
             d.select(0);
             const auto& r = d.lay_out(0, 16);
             d.put_halves(32, r.descriptors);
             d.put_halves(40, r.available);
             d.put_halves(48, r.used);
             d.enable(r);
         })},
        {"PCI-20", "enabled without addresses", {}, setting_up([](raw_pci_driver& d) {
             d.select(0);
             d.get16(24);
             d.put16(28, 1);
         })},
        {"PCI-20", "the size after that", {}, setting_up([](raw_pci_driver& d) {
             d.enable(d.prepare(0));
             d.put16(24, 8);
         })},
        {"PCI-20", "an address after that", {}, setting_up([](raw_pci_driver& d) {
             d.enable(d.prepare(0));
             d.put32(52, 0);
         })},
        {"PCI-20", "the vector after that", with_msix, setting_up([](raw_pci_driver& d) {
             d.enable(d.prepare(0));
             d.set_queue_vector(1);
         })},
        {"PCI-22", "queue_enable 0", {}, setting_up([](raw_pci_driver& d) {
             d.enable(d.prepare(0));
             d.put16(28, 0);
         })},
        {"PCI-22", "queue_enable 2", {}, setting_up([](raw_pci_driver& d) {
             d.prepare(0);
             d.put16(28, 2);
         })},
        {"PCI-23", "does not wait for the queue reset", [](auto& c) { c.features = usual_and(feature::ring_reset); },
         [](pci_world& w) {
             w.driver.start();
             w.device.behave.queue_reset_reads = 2;
             w.driver.put16(58, 1);
             w.driver.get16(58);
             w.driver.select(0);
         }},
        {"PCI-48", "a ring that is not zero", {}, setting_up([](raw_pci_driver& d) {
             auto& r = d.prepare(0);
             r.available[5] = std::byte{1};
             d.enable(r);
         })},
        {"DOORBELL", "no fence before it is enabled", {}, setting_up([](raw_pci_driver& d) {
             d.enable(d.prepare(0), false);
         })},
        {"PCI-48", "a legacy ring that is not zero", legacy_device, setting_up([](raw_pci_driver& d) {
             auto& r = d.prepare(0);
             r.used[2] = std::byte{1};
             d.enable(r);
         })},
        {"DOORBELL", "no fence before a legacy queue is enabled", legacy_device,
         setting_up([](raw_pci_driver& d) { d.enable(d.prepare(0), false); })},
        {"PCIL-08", "a legacy queue that is in use", legacy_device, setting_up([](raw_pci_driver& d) {
             const auto& r = d.prepare(0);
             d.enable(r);
             d.enable(r);
         })},
        {"PCIL-08", "a legacy queue outside of memory", legacy_device, setting_up([](raw_pci_driver& d) {
             d.prepare(0);
             arch::fence_doorbell();
             d.put32(8, 5);
         })},
    };
    check_rules(rules, on_pci());
}

BOOST_AUTO_TEST_CASE(wrong_vectors_are_reported) {
    std::vector<rule> rules = {
        {"PCI-36", "beyond the table", with_msix,
         setting_up([](raw_pci_driver& d) { BOOST_TEST(!d.set_configuration_vector(3)); })},
        {"PCI-37", "the queue's is not read back", with_msix, setting_up([](raw_pci_driver& d) {
             const auto& r = d.prepare(0);
             d.put16(26, 1);
             d.enable(r);
         })},
        {"PCI-37", "the configuration's is not read back", with_msix, setting_up([](raw_pci_driver& d) {
             d.put16(16, 0);
             d.enable(d.prepare(0));
             d.go();
         })},
        {"PCI-37", "the queue's was refused", with_msix,
         [](pci_world& w) {
             w.driver.begin_set_up();
             const auto& r = w.driver.prepare(0);
             w.device.inject(fault::vector_refused);
             BOOST_TEST(!w.driver.set_queue_vector(1));
             w.driver.enable(r);
         }},
        {"PCI-37", "the configuration's was refused", with_msix,
         [](pci_world& w) {
             w.driver.begin_set_up();
             w.device.behave.vectors_accepted = 2;
             BOOST_TEST(!w.driver.set_configuration_vector(2));
             w.driver.enable(w.driver.prepare(0));
             w.driver.go();
         }},
        {"PCI-47", "of a queue that does not exist", with_msix, setting_up([](raw_pci_driver& d) {
             d.select(7);
             BOOST_TEST(!d.set_queue_vector(1));
         })},
        {"MSIX", "while MSI-X is off", {}, setting_up([](raw_pci_driver& d) { d.put16(16, 0); })},
        {"PCI-28", "the ISR status with MSI-X", with_msix,
         [](pci_world& w) {
             w.driver.start({1, 2}, 2);
             w.driver.get8(isr);
         }},
        {"PCI-28", "the ISR status of a legacy device with MSI-X",
         [](auto& c) {
             legacy_device(c);
             with_msix(c);
         },
         [](pci_world& w) {
             w.driver.start({1, 2}, 2);
             w.driver.get8(19);
         }},
    };
    check_rules(rules, on_pci());
}

BOOST_AUTO_TEST_CASE(wrong_notifications_are_reported) {
    const auto with_data = [](blk_configuration& c) {
        c.features = usual_and(feature::notification_data);
    };
    const auto with_config_data = [](blk_configuration& c) {
        c.features = usual_and(feature::notif_config_data);
    };
    const auto with_both = [](blk_configuration& c) {
        c.features = usual_and(feature::notif_config_data) | feature::bit(feature::notification_data);
    };
    std::vector<rule> rules = {
        {"PCI-39", "of 32 bits", {}, running([](raw_pci_driver& d) {
             d.submit();
             d.put32(d.notify_at[0], 0);
         })},
        {"PCI-39", "of 8 bits", {}, running([](raw_pci_driver& d) {
             d.submit();
             d.put8(d.notify_at[0], 0);
         })},
        {"PCI-40", "of 16 bits, with NOTIFICATION_DATA", with_data, running([](raw_pci_driver& d) {
             d.submit();
             d.put16(d.notify_at[0], 0);
         })},
        {"PCI-41", "another queue's number", {}, running([](raw_pci_driver& d) {
             d.submit();
             d.put16(d.notify_at[0], 1);
         })},
        {"PCI-41", "another queue's address", {}, running([](raw_pci_driver& d) {
             d.submit();
             d.put16(notify, 0);
         })},
        {"PCI-42", "another queue's number, with NOTIFICATION_DATA", with_data, running([](raw_pci_driver& d) {
             d.submit();
             d.put32(d.notify_at[0], 1 | 1 << 16);
         })},
        {"PCI-43", "the queue's number, with NOTIF_CONFIG_DATA", with_config_data, running([](raw_pci_driver& d) {
             d.submit();
             d.put16(d.notify_at[0], 0);
         })},
        {"PCI-43", "another queue's data", with_config_data, running([](raw_pci_driver& d) {
             d.submit();
             d.put16(d.notify_at[0], d.device().notif_data(1));
         })},
        {"PCI-44", "the queue's number, with both", with_both, running([](raw_pci_driver& d) {
             d.submit();
             d.put32(d.notify_at[0], 1 << 16);
         })},
        {"NOTE-02", "another index, with both", with_both, running([](raw_pci_driver& d) {
             d.submit();
             d.put32(d.notify_at[0], d.device().notif_data(0) | 2 << 16);
         })},
        {"PCI-46", "no queue's address", {}, running([](raw_pci_driver& d) {
             d.submit();
             d.put16(notify + 2, 0);
         })},
        {"PCI-41", "of a queue that is not enabled", {}, running([](raw_pci_driver& d) { d.put16(notify, 1); })},
        {"INIT-14", "before DRIVER_OK", {}, setting_up([](raw_pci_driver& d) {
             d.enable(d.prepare(0));
             d.put16(d.notify_at[0], 0);
         })},
        {"BUS", "beyond the structure", {}, running([](raw_pci_driver& d) {
             d.submit();
             d.put16(notify + 8, 0);
         })},
        {"PCI-41", "of a legacy queue that does not exist", legacy_device,
         running([](raw_pci_driver& d) { d.put16(16, 2); })},
    };
    check_rules(rules, on_pci());
}

// ---- what a driver that is right sees

BOOST_AUTO_TEST_CASE(reading_the_isr_status_acknowledges) {
    for (const std::uint32_t version : {2U, 1U}) {
        pci_world w{on_pci([version](auto& c) { c.version = version; })};
        w.driver.start();
        w.driver.submit();
        w.driver.tell();
        BOOST_TEST(w.driver.interrupts == 1U);
        BOOST_TEST(w.driver.last_isr == 1U);
        BOOST_TEST(!w.host.line_high(w.device.configuration().line));
        BOOST_TEST(w.driver.get8(version == 1 ? 19 : isr) == 0U);
        w.device.set_capacity(100);
        w.host.run_until(w.host.time() + 100);
        BOOST_TEST(w.driver.last_isr == 2U);
        w.host.enable_line(w.device.configuration().line, false); // both causes, one read
        w.device.set_capacity(200);
        w.driver.submit();
        w.driver.tell();
        w.host.enable_line(w.device.configuration().line, true);
        w.host.run_until(w.host.time() + 100);
        BOOST_TEST(w.driver.interrupts == 3U);
        BOOST_TEST(w.driver.last_isr == 3U);
        BOOST_TEST(w.messages.empty());
        silent(w);
    }
}

BOOST_AUTO_TEST_CASE(each_event_has_the_vector_that_it_was_given) {
    for (const std::uint32_t version : {2U, 1U}) {
        const auto configuration = on_pci([version](auto& c) {
            c.version = version;
            c.pci->vectors = 3;
        });
        {
            pci_world w{configuration};
            w.driver.start({2, 1}, 2);
            w.driver.submit(1);
            w.driver.tell(1);
            w.driver.submit(0);
            w.driver.tell(0);
            w.device.set_capacity(100);
            const std::vector<std::uint16_t> each{1, 2, 0};
            BOOST_TEST(w.messages == each, boost::test_tools::per_element());
            BOOST_TEST(w.device.messages(2) == 1U);
            BOOST_TEST(w.driver.interrupts == 0U); // of the line
            silent(w);
        }
        {
            pci_world w{configuration};
            w.driver.start({0, 0}, 2);
            w.driver.submit(1);
            w.driver.tell(1);
            w.device.set_capacity(100);
            const std::vector<std::uint16_t> all_on_one{0, 0};
            BOOST_TEST(w.messages == all_on_one, boost::test_tools::per_element());
            silent(w);
        }
        {
            pci_world w{configuration};
            w.driver.start({no_vector, no_vector}, 2, no_vector);
            w.driver.submit();
            w.driver.tell();
            w.device.set_capacity(100);
            BOOST_TEST(w.device.counters(0).completed == 1U);
            BOOST_TEST(w.messages.empty());
            BOOST_TEST(w.driver.interrupts == 0U);
            silent(w);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_reset_takes_the_vectors_back) {
    for (const std::uint32_t version : {2U, 1U}) {
        pci_world w{on_pci([version](auto& c) {
            c.version = version;
            c.pci->vectors = 3;
        })};
        w.driver.start({1, 2}, 2);
        w.driver.begin_set_up();
        BOOST_TEST(w.driver.get16(version == 1 ? 20 : 16) == no_vector);
        for (unsigned index = 0; index < 2; ++index) {
            const auto& r = w.driver.prepare(index);
            BOOST_TEST(w.driver.get16(version == 1 ? 22 : 26) == no_vector);
            w.driver.enable(r);
        }
        w.driver.go();
        w.driver.submit();
        w.driver.tell();
        BOOST_TEST(w.device.counters(0).completed == 1U);
        BOOST_TEST(w.messages.empty());
        silent(w);
    }
}

BOOST_AUTO_TEST_CASE(the_fields_of_a_queue_are_those_of_the_selected_one) {
    pci_world w{on_pci([](auto& c) {
        c.pci->vectors = 3;
        c.queue_size_max_of[1] = 32;
    })};
    w.driver.begin_set_up();
    BOOST_TEST(w.driver.get16(18) == 2U);
    for (const unsigned index : {1U, 0U, 2U}) {
        w.driver.select(index);
        BOOST_TEST(w.driver.get16(22) == index);
        BOOST_TEST(w.driver.get16(24) == (index == 2 ? 0U : index == 1 ? 32U : 16U));
        BOOST_TEST(w.driver.get16(26) == no_vector);
        BOOST_TEST(w.driver.get16(28) == 0U);
        if (index != 2)
            BOOST_TEST(w.driver.get16(30) == 1U - index);
    }
    w.driver.prepare(1, 8);
    BOOST_TEST(w.driver.get16(24) == 8U);
    w.device.inject(fault::notify_out_of_range);
    BOOST_TEST(w.driver.get16(30) == 0xffffU);
    BOOST_TEST(w.driver.get16(30) == 0U);
    silent(w);
}

BOOST_AUTO_TEST_CASE(the_configuration_of_a_legacy_device_moves_with_msix) {
    pci_world w{on_pci([](auto& c) {
        c.version = 1;
        c.pci->vectors = 3;
        c.capacity = 1000;
    })};
    w.driver.begin_set_up();
    BOOST_TEST(w.driver.get32(24) == 1000U);
    w.device.enable_msix(false);
    BOOST_TEST(w.driver.get32(20) == 1000U);
    silent(w);
}

BOOST_AUTO_TEST_SUITE_END()
