// What the model reports of a driver that is wrong at the registers: initialisation, access, set-up of queues.
#include "tests/host/model/raw_driver.hpp"

#include <boost/test/unit_test.hpp>
#include <functional>

namespace {

using namespace inflight;
using namespace inflight::model;
using namespace inflight::tests;

} // namespace

BOOST_AUTO_TEST_SUITE(virtio_blk_registers_tests)

BOOST_AUTO_TEST_CASE(wrong_initialisation_is_reported) {
    const auto modern_until_features = [](world& w) {
        w.driver.begin();
        w.driver.read_features();
    };
    const auto accept = [](unsigned bit) {
        return [bit](world& w) {
            w.driver.begin();
            w.driver.negotiate(w.driver.sensible() | feature::bit(bit));
        };
    };
    const auto refuse = [](unsigned bit) {
        return [bit](world& w) {
            w.driver.begin();
            w.driver.negotiate(w.driver.sensible() & ~feature::bit(bit));
        };
    };
    const auto offer = [](unsigned bit) {
        return [bit](blk_configuration& c) {
            c.features = usual_and(bit);
        };
    };
    const auto offer_legacy = [](unsigned bit) {
        return [bit](blk_configuration& c) {
            c.version = 1;
            c.features = usual_and(bit, 1);
        };
    };
    check({
        {"MMIO-24",
         "Status before the magic value",
         {},
         [](world& w) {
             w.driver.get(reg::device_id);
         }},
        {"MMIO-25",
         "reset before DeviceID",
         {},
         [](world& w) {
             w.driver.get(reg::magic_value);
             w.driver.get(reg::version);
             w.driver.reset();
         }},
        {"MMIO-06", "goes on in spite of the magic value", [](auto& c) { c.magic_value = 1; },
         [](world& w) {
             w.driver.identify();
         }},
        {"MMIO-08", "goes on in spite of the version", [](auto& c) { c.version = 3; },
         [](world& w) {
             w.driver.identify();
         }},
        {"MMIO-27", "VendorID of an empty slot", [](auto& c) { c.device_id = 0; },
         [](world& w) {
             w.driver.identify();
             w.driver.get(reg::vendor_id);
         }},
        {"INIT-01",
         "no reset",
         {},
         [](world& w) {
             w.driver.identify();
             w.driver.put(reg::status, 1);
         }},
        {"RST-01",
         "does not wait for the reset",
         {},
         [](world& w) {
             w.driver.identify();
             w.driver.put(reg::status, 0);
             w.driver.put(reg::status, 1);
         }},
        {"RST-01",
         "looks at features during the reset",
         {},
         [](world& w) {
             w.driver.identify();
             w.device.behave.reset_reads = 3;
             w.driver.put(reg::status, 0);
             w.driver.get(reg::status);
             w.driver.put(reg::device_features_sel, 0);
         }},
        {"INIT-02",
         "DRIVER without ACKNOWLEDGE",
         {},
         [](world& w) {
             w.driver.identify();
             w.driver.reset();
             w.driver.put(reg::status, 2);
         }},
        {"STAT-01",
         "two steps at once",
         {},
         [](world& w) {
             w.driver.identify();
             w.driver.reset();
             w.driver.put(reg::status, 3);
         }},
        {"STAT-01",
         "a bit that is not the driver's",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.put(reg::status, 3 | 64);
         }},
        {"STAT-02",
         "takes ACKNOWLEDGE back",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.put(reg::status, 2);
         }},
        {"STAT-03",
         "goes on after FAILED",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.put(reg::status, 3 | 128);
             w.driver.put(reg::status, 3 | 128);
         }},
        {"INIT-13",
         "writes after FAILED",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.put(reg::status, 3 | 128);
             w.driver.put(reg::device_features_sel, 0);
         }},
        {"INIT-03",
         "features before DRIVER",
         {},
         [](world& w) {
             w.driver.identify();
             w.driver.reset();
             w.driver.put(reg::status, 1);
             w.driver.put(reg::device_features_sel, 0);
             w.driver.get(reg::device_features);
         }},
        {"MMIO-12",
         "DeviceFeatures without selector",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.get(reg::device_features);
         }},
        {"MMIO-13",
         "DriverFeatures without selector",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.put(reg::driver_features, 0);
         }},
        {"INIT-04",
         "one word of features is not read",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.put(reg::device_features_sel, 0);
             w.driver.get(reg::device_features);
             w.driver.write_features(w.driver.sensible());
             w.driver.put(reg::status, 11);
         }},
        {"INIT-04", "one word of features is not written", [](auto& c) { c.features = usual_features(2) & 0xffffffff; },
         [&](world& w) {
             modern_until_features(w);
             w.driver.put(reg::driver_features_sel, 0);
             w.driver.put(reg::driver_features, static_cast<std::uint32_t>(w.driver.sensible()));
             w.driver.put(reg::status, 11);
         }},
        {"INIT-08",
         "features after FEATURES_OK",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.negotiate();
             w.driver.put(reg::driver_features, 1);
         }},
        {"FEAT-09", "legacy features after DRIVER_OK", as_legacy,
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::driver_features, 0);
         }},
        {"FEAT-01", "a bit that is not offered", {}, accept(feature::size_max)},
        {"FEAT-05", "an unknown bit", offer(45), accept(45)},
        {"FEAT-05", "a bit without meaning for a block device", offer(3), accept(3)},
        {"FEAT-05", "a legacy bit of a modern device", offer(feature::scsi), accept(feature::scsi)},
        {"RSVD-10", "SR_IOV", offer(feature::sr_iov), accept(feature::sr_iov)},
        {"MMIO-40", "ADMIN_VQ", offer(feature::admin_vq), accept(feature::admin_vq)},
        {"RSVD-01", "refuses VERSION_1", {}, refuse(feature::version_1)},
        {"BLK-07", "refuses RO", offer(feature::read_only), refuse(feature::read_only)},
        {"RSVD-03", "refuses ACCESS_PLATFORM", offer(feature::access_platform), refuse(feature::access_platform)},
        {"RSVD-07", "refuses ORDER_PLATFORM", offer(feature::order_platform), refuse(feature::order_platform)},
        {"RSVD-06", "refuses RING_PACKED where that is not tolerated",
         [](auto& c) {
             c.features = usual_and(feature::ring_packed);
             c.tolerated.clear();
         },
         refuse(feature::ring_packed)},
        {"BLKZ-02", "DISCARD of a host-managed zoned device",
         [](auto& c) {
             c.features = usual_and(feature::zoned);
             c.zoned_model = 1;
         },
         refuse(feature::zoned)},
        {"LEG-12", "FEATURES_OK on legacy", as_legacy,
         [](world& w) {
             w.driver.begin();
             w.driver.negotiate();
             w.driver.put(reg::status, 11);
         }},
        {"LEG-13", "refuses ANY_LAYOUT", offer_legacy(feature::any_layout),
         [](world& w) {
             w.driver.start(w.driver.sensible() & ~feature::bit(feature::any_layout));
         }},
        {"LEG-14", "accepts bit 30", offer_legacy(feature::unused),
         [](world& w) {
             w.driver.start();
         }},
        {"INIT-09",
         "goes on although FEATURES_OK was refused",
         {},
         [](world& w) {
             w.device.inject(fault::features_refused);
             w.driver.begin();
             w.driver.negotiate();
             w.driver.put(reg::queue_sel, 0);
         }},
        {"INIT-09",
         "does not read Status again",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.read_features();
             w.driver.write_features(w.driver.sensible());
             w.driver.put(reg::status, 11);
             w.driver.enable_queue(w.driver.prepare_queue(0));
             w.driver.go();
         }},
        {"INIT-10",
         "a queue before FEATURES_OK",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.prepare_queue(0);
         }},
        {"INIT-10", "a queue after DRIVER_OK", [](auto& c) { c.queues = 2; },
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_sel, 1);
             w.driver.get(reg::queue_size_max);
         }},
        {"INIT-10",
         "no queue at all",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.negotiate();
             w.driver.go();
         }},
        {"INIT-07",
         "DRIVER_OK without FEATURES_OK",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.read_features();
             w.driver.write_features(w.driver.sensible());
             w.driver.put(reg::status, 7);
         }},
        {"INIT-11",
         "FEATURES_OK after DRIVER_OK",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::status, 7); // takes FEATURES_OK back, which is wrong by itself
             w.host.clear_violations();
             w.driver.put(reg::status, 15);
         }},
        {"INIT-14",
         "notifies before DRIVER_OK",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.negotiate();
             w.driver.enable_queue(w.driver.prepare_queue(0));
             w.driver.put(reg::queue_notify, 0);
         }},
    });
}

BOOST_AUTO_TEST_CASE(wrong_register_access_is_reported) {
    check({
        {"MMIO-01",
         "no register there",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(0x04c);
         }},
        {"MMIO-01",
         "padding of the configuration",
         {},
         [](world& w) {
             w.driver.start();
             arch::mmio_read8(w.driver.at(reg::config + 33));
         }},
        {"MMIO-02",
         "writes MagicValue",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::magic_value, 0);
         }},
        {"MMIO-02",
         "writes capacity",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::config, 0);
         }},
        {"MMIO-03",
         "reads QueueNotify",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(reg::queue_notify);
         }},
        {"MMIO-04",
         "reads 16 bits of Status",
         {},
         [](world& w) {
             w.driver.start();
             arch::mmio_read16(w.driver.at(reg::status));
         }},
        {"MMIO-04",
         "writes 8 bits of Status",
         {},
         [](world& w) {
             w.driver.start();
             arch::mmio_write8(w.driver.at(reg::status), 0x8f);
         }},
        {"MMIO-05",
         "reads 32 bits of a 16-bit field",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(reg::config + 16);
         }},
        {"MMIO-05",
         "reads a byte of capacity",
         {},
         [](world& w) {
             w.driver.start();
             arch::mmio_read8(w.driver.at(reg::config));
         }},
        {"MMIO-28",
         "shared memory",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(0x0b0);
         }},
        {"MMIOL-12", "ConfigGeneration of a legacy device", as_legacy,
         [](world& w) {
             w.driver.start();
             w.driver.get(reg::config_generation);
         }},
        {"CFG-03",
         "two fields without the generation",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(reg::config);
             w.driver.get(reg::config + 4);
             w.driver.get(reg::status);
         }},
        {"CFG-03",
         "does not repeat when the generation has changed",
         {},
         [](world& w) {
             w.driver.start();
             w.device.inject(fault::config_change);
             w.driver.get(reg::config_generation);
             w.driver.get(reg::config);
             w.driver.get(reg::config + 4);
             w.driver.get(reg::config_generation);
             w.driver.put(reg::queue_sel, 0);
         }},
        {"CFG-04",
         "size_max, which is not offered",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(reg::config + 8);
         }},
        {"BLK-23", "num_queues without MQ", [](auto& c) { c.features = usual_without(feature::mq); },
         [](world& w) {
             w.driver.start();
             arch::mmio_read16(w.driver.at(reg::config + 34));
         }},
        {"BLK-04",
         "writeback before FEATURES_OK",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.read_features();
             arch::mmio_read8(w.driver.at(reg::config + 32));
         }},
        {"INIT-06",
         "writes writeback before FEATURES_OK",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.read_features();
             arch::mmio_write8(w.driver.at(reg::config + 32), 0);
         }},
        {"BLK-17",
         "writeback is neither 0 nor 1",
         {},
         [](world& w) {
             w.driver.start();
             arch::mmio_write8(w.driver.at(reg::config + 32), 2);
         }},
        {"BLK-17",
         "writeback without CONFIG_WCE",
         {},
         [](world& w) {
             w.driver.start(w.driver.sensible() & ~feature::bit(feature::config_wce));
             arch::mmio_write8(w.driver.at(reg::config + 32), 0);
         }},
        {"BLK-36",
         "writeback with a request in flight",
         {},
         [](world& w) {
             w.driver.start();
             w.device.behave.hold = true;
             w.driver.add(w.driver.rings[0], {{w.driver.header(0, 0), 16, false},
                                              {w.driver.buffer(512), 512, true},
                                              {w.driver.status_byte(), 1, true}});
             w.driver.publish(0);
             w.host.run_until(w.host.time() + 1000);
             arch::mmio_write8(w.driver.at(reg::config + 32), 0);
         }},
        {"LEG-04", "capacity of a legacy device is read once", as_legacy,
         [](world& w) {
             w.driver.begin();
             w.driver.negotiate();
             w.driver.read_capacity();
             w.driver.page_size();
             w.driver.enable_queue(w.driver.prepare_queue(0));
             w.driver.go();
         }},
        {"MMIO-20",
         "acknowledges bits that do not exist",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(reg::interrupt_status);
             w.driver.put(reg::interrupt_ack, 4);
         }},
        {"MMIO-30",
         "acknowledges without a look",
         {},
         [](world& w) {
             w.driver.start();
             arch::mask_interrupts();
             w.device.raise_used_interrupt();
             w.driver.put(reg::interrupt_ack, 1);
             arch::fence_acknowledge();
         }},
        {"MMIO-32",
         "acknowledges what it was not shown",
         {},
         [](world& w) {
             w.driver.start();
             arch::mask_interrupts();
             w.device.raise_used_interrupt();
             w.driver.get(reg::interrupt_status);
             w.driver.put(reg::interrupt_ack, 3);
             arch::fence_acknowledge();
         }},
        {"ACKNOWLEDGE",
         "looks at the ring with a weaker fence",
         {},
         [](world& w) {
             w.driver.start();
             arch::mask_interrupts();
             w.device.raise_used_interrupt();
             w.driver.get(reg::interrupt_status);
             w.driver.put(reg::interrupt_ack, 1);
             arch::fence_consume();
         }},
        {"INIT-15",
         "does not look at Status after a configuration interrupt",
         {},
         [](world& w) {
             w.driver.start();
             arch::mask_interrupts();
             w.device.raise_config_interrupt();
             w.driver.get(reg::interrupt_status);
             w.driver.put(reg::interrupt_ack, 2);
             w.driver.read_capacity();
             BOOST_TEST(!w.device.idle());
         }},
        {"BLK-05",
         "does not look at capacity after a configuration interrupt",
         {},
         [](world& w) {
             w.driver.start();
             arch::mask_interrupts();
             w.device.set_capacity(100);
             w.driver.get(reg::interrupt_status);
             w.driver.get(reg::status);
             w.driver.put(reg::interrupt_ack, 2);
             BOOST_TEST(!w.device.idle());
         }},
        {"STORM",
         "never acknowledges",
         {},
         [](world& w) {
             w.driver.start();
             w.host.line_handler(8, [&] { w.driver.get(reg::interrupt_status); });
             w.device.raise_used_interrupt();
         }},
    });
}

BOOST_AUTO_TEST_CASE(wrong_queue_set_up_is_reported) {
    // Runs up to the set-up of queue 0 with each step under control.
    const auto modern = [](const std::function<void(world&)>& then) {
        return [then](world& w) {
            w.driver.begin();
            w.driver.negotiate();
            then(w);
        };
    };
    const auto legacy = [](const std::function<void(world&)>& then) {
        return [then](world& w) {
            w.driver.begin();
            w.driver.negotiate();
            w.driver.page_size();
            then(w);
        };
    };
    const auto small = [](blk_configuration& c) {
        c.queue_size_max = 4;
    };
    check({
        {"MMIO-33", "QueueSel is not written", {}, modern([](world& w) { w.driver.get(reg::queue_ready); })},
        {"MMIO-34", "QueueReady is not read", {}, modern([](world& w) {
             w.driver.put(reg::queue_sel, 0);
             w.driver.get(reg::queue_size_max);
             w.driver.put(reg::queue_size, 8);
         })},
        {"MMIO-34", "the queue is in use", {}, modern([](world& w) {
             w.device.inject(fault::queue_in_use);
             w.driver.prepare_queue(0);
         })},
        {"MMIO-35", "QueueSizeMax is not read", {}, modern([](world& w) {
             w.driver.put(reg::queue_sel, 0);
             w.driver.get(reg::queue_ready);
             w.driver.put(reg::queue_size, 8);
         })},
        {"MMIO-35", "the queue does not exist", {}, modern([](world& w) {
             w.device.inject(fault::queue_size_zero);
             w.driver.prepare_queue(0);
         })},
        {"MMIO-14", "larger than the maximum", small, modern([](world& w) { w.driver.prepare_queue(0, 8); })},
        {"SPLIT-37", "no power of two", {}, modern([](world& w) { w.driver.prepare_queue(0, 6); })},
        {"MMIO-37", "addresses before the size", {}, modern([](world& w) {
             w.driver.put(reg::queue_sel, 0);
             w.driver.get(reg::queue_ready);
             w.driver.put(reg::queue_desc_low, 0);
         })},
        {"MMIO-37", "enabled without addresses", {}, modern([](world& w) {
             w.driver.put(reg::queue_sel, 0);
             w.driver.get(reg::queue_ready);
             w.driver.get(reg::queue_size_max);
             w.driver.put(reg::queue_size, 8);
             w.driver.put(reg::queue_ready, 1);
         })},
        {"MMIO-15", "the size of a ready queue is written", {}, modern([](world& w) {
             w.driver.enable_queue(w.driver.prepare_queue(0));
             w.driver.put(reg::queue_size, 8);
         })},
        {"MMIO-15", "an address of a ready queue is written", {}, modern([](world& w) {
             w.driver.enable_queue(w.driver.prepare_queue(0));
             w.driver.put(reg::queue_device_high, 0);
         })},
        {"MMIO-17",
         "a stopped queue is not read back",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_ready, 0);
             w.driver.put(reg::queue_sel, 0);
         }},
        {"SPLIT-01", "a misaligned descriptor table", {}, modern([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             w.driver.put_address(reg::queue_desc_low, w.driver.zeroed(256, 16) + 8);
             w.driver.enable_queue(r);
         })},
        {"SPLIT-01", "a misaligned used ring", {}, modern([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             w.driver.put_address(reg::queue_device_low, w.driver.zeroed(256, 16) + 2);
             w.driver.enable_queue(r);
         })},
        {"MMIO-36", "a descriptor table that is not zero", {}, modern([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             r.descriptors[100] = std::byte{1};
             w.driver.enable_queue(r);
         })},
        {"MMIO-36", "rings that overlap", {}, modern([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             w.driver.put_address(reg::queue_device_low, r.descriptors);
             w.driver.enable_queue(r);
         })},
        {"SPLIT-19", "used.flags is not 0", {}, modern([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             r.used[0] = std::byte{1};
             w.driver.enable_queue(r);
         })},
        {"RSVD-05", "a ring outside of memory", {}, modern([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             w.driver.put(reg::queue_device_high, 7);
             w.driver.enable_queue(r);
         })},
        {"BLK-22", "a second queue without MQ",
         [](auto& c) {
             c.queues = 2;
             c.features = usual_without(feature::mq);
         },
         modern([](world& w) { w.driver.enable_queue(w.driver.prepare_queue(1)); })},
        {"VQR-04",
         "QueueReset without RING_RESET",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_reset, 1);
         }},
        {"MMIO-21", "does not wait for the queue reset", [](auto& c) { c.features = usual_and(feature::ring_reset); },
         [](world& w) {
             w.driver.start();
             w.device.behave.queue_reset_reads = 2;
             w.driver.put(reg::queue_reset, 1);
             w.driver.get(reg::queue_reset);
             w.driver.put(reg::queue_sel, 0);
         }},
        {"VQR-03", "enables a queue again without its addresses",
         [](auto& c) { c.features = usual_and(feature::ring_reset); },
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_reset, 1);
             w.driver.get(reg::queue_reset);
             w.driver.get(reg::queue_ready);
             w.driver.get(reg::queue_size_max);
             w.driver.put(reg::queue_size, 8);
             w.driver.put(reg::queue_ready, 1);
         }},
        {"MMIOL-02", "GuestPageSize is no power of two", as_legacy,
         modern([](world& w) { w.driver.put(reg::guest_page_size, 4095); })},
        {"MMIOL-02", "a queue before GuestPageSize", as_legacy, modern([](world& w) { w.driver.prepare_queue(0); })},
        {"MMIOL-03", "QueueSel is not written", as_legacy, legacy([](world& w) { w.driver.get(reg::queue_pfn); })},
        {"MMIOL-04", "QueueSizeMax of a queue in use", as_legacy, legacy([](world& w) {
             w.driver.enable_queue(w.driver.prepare_queue(0));
             w.driver.get(reg::queue_size_max);
         })},
        {"MMIOL-05", "QueuePFN is not read", as_legacy, legacy([](world& w) {
             w.driver.put(reg::queue_sel, 0);
             w.driver.get(reg::queue_size_max);
             w.driver.put(reg::queue_size, 8);
         })},
        {"MMIOL-05", "QueuePFN is not 0", as_legacy, legacy([](world& w) {
             w.device.inject(fault::queue_in_use);
             w.driver.prepare_queue(0);
         })},
        {"MMIOL-06", "the queue does not exist", as_legacy, legacy([](world& w) {
             w.device.inject(fault::queue_size_zero);
             w.driver.prepare_queue(0);
         })},
        {"MMIOL-07", "larger than the maximum",
         [](auto& c) {
             c.version = 1;
             c.queue_size_max = 4;
         },
         legacy([](world& w) { w.driver.prepare_queue(0, 8); })},
        {"MMIOL-07", "QueueAlign before QueueSize", as_legacy, legacy([](world& w) {
             w.driver.put(reg::queue_sel, 0);
             w.driver.put(reg::queue_align, 4096);
         })},
        {"MMIOL-08", "memory that is not zero", as_legacy, legacy([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             r.used[2] = std::byte{1};
             w.driver.enable_queue(r);
         })},
        {"LEG-07", "the padding belongs to someone else", as_legacy, legacy([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             r.used[-1] = std::byte{1};
             w.driver.enable_queue(r);
         })},
        {"MMIOL-09", "QueueAlign is no power of two", as_legacy, legacy([](world& w) {
             w.driver.prepare_queue(0);
             w.driver.put(reg::queue_align, 100);
         })},
        {"MMIOL-10", "a page that is not in memory", as_legacy, legacy([](world& w) {
             w.driver.prepare_queue(0);
             w.driver.put(reg::queue_pfn, 1);
         })},
    });
}

BOOST_AUTO_TEST_SUITE_END()
