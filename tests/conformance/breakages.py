#!/usr/bin/env python3
"""Breaks the driver in one place at a time so that it violates a row of requirements.tsv, and requires that a test fails.

usage: breakages.py [--build=FOLDER] [--only=TEXT] [--killer=NAME] [--sample=N [--seed=K]] [--jobs=N] [--check]

Each entry of the table names rows, a file, what stands there (exactly once), what is put in its place, and the killer:
the tests that have to notice. A row that no change of a line can violate stands in BY_CONSTRUCTION, with the reason.
A breakage that survives is a gap in the suite. The machinery is that of tests/simulation/mutants.py.

The objects of FOLDER (build/host-debug by default, which is brought up to date) are linked anew with those that the
changed file is in, so a change of a source costs the compilation of that source.

  --check     only whether the table fits the sources, and has every row that a driver must follow; at once
  --jobs=N    how many are tried at a time
  --killer=K  those that these tests have to notice
  --sample=N  N of them, drawn by --seed, of those that are quick to build
  --only=ID   those of rows whose id begins so, or of files whose name contains it

Exit status: 0 if all were found, 1 if one survived, 2 if the table does not fit.
"""

import argparse
import json
import os
import pathlib
import random
import shlex
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "simulation"))
import mutants  # noqa: E402  # pylint: disable=wrong-import-position
import requirements  # noqa: E402  # pylint: disable=wrong-import-position

ROOT = requirements.ROOT
MMIO = "drivers/virtio/mmio.cpp"
PCI = "drivers/virtio/pci.cpp"
CAPABILITIES = "drivers/virtio/pci_capabilities.cpp"
MSIX = "drivers/pci/msix.cpp"
TRANSPORT = "drivers/virtio/transport.hpp"
DEVICE = "drivers/virtio/device.cpp"
DEVICE_HEADER = "drivers/virtio/device.hpp"
LAYOUT = "drivers/virtio/split_ring.hpp"
SPLIT = "drivers/virtio/split_virtqueue.hpp"
SPLIT_SOURCE = "drivers/virtio/split_virtqueue.cpp"
PACKED = "drivers/virtio/packed_virtqueue.cpp"
PACKED_HEADER = "drivers/virtio/packed_virtqueue.hpp"
PACKED_SLOTS = "drivers/virtio/packed_slot_table.hpp"
PACKED_LAYOUT = "drivers/virtio/packed_ring.hpp"
SLOTS = "drivers/virtio/slot_table.hpp"
QUEUE = "drivers/block/queue.cpp"
QUEUE_HEADER = "drivers/block/queue.hpp"
LIMITS = "drivers/block/limits.cpp"
LIMITS_HEADER = "drivers/block/limits.hpp"
PIECES = "drivers/block/pieces.cpp"
ADMISSION = "drivers/block/admission.cpp"
ADMISSION_HEADER = "drivers/block/admission.hpp"
BLK = "drivers/block/virtio_blk.cpp"
BLK_HEADER = "drivers/block/virtio_blk.hpp"
CHANNEL = "drivers/block/channel.cpp"
RESUBMISSION = "drivers/block/resubmission.cpp"
DISK = "drivers/block/disk.cpp"
ENTROPY = "drivers/entropy/entropy.cpp"

# What several entries change.
ACCEPTED = "accepted_ = offered & allowed & (~features_off_ | feature::version_1);"
OFFERED = "    offered = transport_.offered_features();\n"
SELECT_AND_READ = "    arch::mmio_write32(registers_ + device_features_sel, 0);\n    const std::uint64_t low_word"
ENABLE = "    arch::mmio_write32(registers_ + queue_ready, 1);\n"
ENABLE_ON_PCI = "    arch::mmio_write16(where_.common + queue_enable, 1);\n"
SIZE_ON_PCI = "    arch::mmio_write16(where_.common + queue_size_field, size);\n"
STEPS = ("    transport_.set_status(status_bit::acknowledge);\n"
         "    transport_.set_status(status_bit::acknowledge | status_bit::driver);\n")
STATUS_DESCRIPTOR = "store(end.address, end.length, end.flags, 0);"
HAND_OVER = "    held_back_->word.store(held_back_word_);\n"
NOTIFICATION_DATA = "registers.queue | position << 16"
WANTED = "used_event != nullptr ? crossed(notification_event(), available_now, before)\n"


def accepted_but(bits):
    """ACCEPTED without these bits."""
    return ACCEPTED.replace(");", f") & ~({bits});")


def accepted_and(bits):
    """ACCEPTED with these bits, if they are offered."""
    return ACCEPTED.replace(");", f") | (offered & ({bits}));")


def bit(number):
    """A feature."""
    return f"feature_set{{1}} << {number}"


# rows, file, what stands there, what is put there instead, killer
BREAKAGES = [
    # ---- status and initialisation
    ("STAT-01", DEVICE, STEPS, STEPS.splitlines(keepends=True)[1], "start"),
    ("INIT-02", DEVICE, STEPS, "    transport_.set_status(status_bit::driver);\n", "start"),
    ("INIT-03", DEVICE, STEPS, STEPS.splitlines(keepends=True)[0], "start"),
    ("STAT-02", DEVICE, "(transport_.status() & mine) | bit)", "bit)", "start"),
    ("STAT-03", DEVICE, "        set_failed();\n    }\n    return outcome ==",
     "        set_failed();\n        add_status(status_bit::driver_ok);\n    }\n    return outcome ==", "start"),
    ("STAT-04 INIT-15", DISK, "    return device_.needs_reset();", "    return false;", "trust"),
    ("SUSP-01", DEVICE, "        add_status(status_bit::driver_ok);", "        add_status(status_bit::driver_ok | 16);", "start"),
    ("INIT-01 MMIO-29 RST-02", DEVICE, "    if (!transport_.reset()) {\n        return error::reset_timeout;", "    if (false) {\n        return error::reset_timeout;", "start"),
    ("RST-01 MMIO-39", MMIO, "(status = arch::mmio_read32(registers_ + device_status)) != 0;)", "(status = arch::mmio_read32(registers_ + device_status)) != 0 && false;)", "start"),
    ("INIT-04", MMIO, "    arch::mmio_write32(registers_ + driver_features, high(accepted));\n", "", "start"),
    ("INIT-06", DEVICE, OFFERED, OFFERED + "    transport_.write_config8(32, 1);\n", "start"),
    ("INIT-07", DEVICE, "status_bit::driver | status_bit::features_ok);", "status_bit::driver);", "start"),
    ("INIT-08 FEAT-09", DEVICE, "        if ((transport_.status() & status_bit::features_ok) == 0) {", "        transport_.accept_features(accepted_);\n        if ((transport_.status() & status_bit::features_ok) == 0) {", "start"),
    ("INIT-09", DEVICE, "        if ((transport_.status() & status_bit::features_ok) == 0) {", "        if (false) {", "start"),
    ("INIT-10", DEVICE, OFFERED, OFFERED + "    std::uint32_t size = 0;\n    static_cast<void>(transport_.queue_size_max(0, size));\n", "start"),
    ("INIT-11", DEVICE, "    transport_.accept_features(accepted_);\n", "    transport_.accept_features(accepted_);\n    transport_.set_status(status_bit::acknowledge | status_bit::driver | status_bit::driver_ok);\n", "start"),
    ("INIT-12", DEVICE, "        set_failed();\n    }\n    return outcome ==", "    }\n    return outcome ==", "start"),
    ("INIT-13", DEVICE, "        set_failed();\n    }\n    return outcome ==", "        set_failed();\n        transport_.accept_features(0);\n    }\n    return outcome ==", "start"),
    ("INIT-14", DEVICE_HEADER, "        return transport_.enable_queue(index, size, where);", "        const error outcome = transport_.enable_queue(index, size, where);\n        transport_.notify(index, 0);\n        return outcome;", "start"),
    ("CLEAN-01", QUEUE_HEADER, "void notified() noexcept { ++notifications_; }", "void notified() noexcept { ++notifications_; ring_.split().descriptor_at(0).next.store(7); }", "requests"),
    ("CLEAN-02", RESUBMISSION, "each->take_back(!recovery_.lost(),", "each->take_back(true,", "bouncing"),

    # ---- features
    ("FEAT-01", DEVICE, ACCEPTED, ACCEPTED.replace("offered & ", ""), "list"),
    ("FEAT-03", DEVICE, ACCEPTED, "accepted_ = offered;", "list"),
    ("FEAT-04 FEAT-05", DEVICE, ACCEPTED, accepted_and(bit(44)), "list"),
    ("FEAT-06", DEVICE, "    if (!is_legacy() && !has(feature::version_1)) {", "    if (!has(feature::event_idx)) {", "list"),
    ("FEAT-07 LEG-01 RSVD-02", DEVICE, "    if (!is_legacy() && !has(feature::version_1)) {", "    if (false) {", "start"),
    ("FEAT-08", DEVICE, "    if (!is_legacy() && !has(feature::version_1)) {", "    if (!is_legacy() && (!has(feature::version_1) || (offered >> 50) != 0)) {", "list"),
    ("FEAT-10", MMIO, "    return feature::indirect_desc | feature::event_idx | feature::any_layout;", "    return mmio_transport::supported_features();", "list"),
    ("RSVD-01", DEVICE, ACCEPTED, accepted_but("feature::version_1"), "list"),
    ("RSVD-03", DEVICE, ACCEPTED, accepted_but("feature::access_platform"), "list"),
    ("RSVD-07", DEVICE, ACCEPTED, accepted_but("feature::order_platform"), "features"),
    ("RSVD-08", TRANSPORT, "    arch::fence_doorbell();\n    if (registers.queue_notify != 0)", "    if (registers.queue_notify != 0)", "start"),
    ("RSVD-13", DEVICE, ACCEPTED, accepted_but("feature::notif_config_data"), "features"),
    ("RSVD-06", DEVICE, ACCEPTED, accepted_but("feature::ring_packed"), "list"),
    ("RSVD-10", DEVICE, ACCEPTED, accepted_and(bit(37)), "list"),
    ("MMIO-40 RSVD-17", DEVICE, ACCEPTED, accepted_and(bit(41)), "list"),
    ("LEG-13", DEVICE, ACCEPTED, accepted_but("feature::any_layout"), "list"),
    ("LEG-14", DEVICE, ACCEPTED, accepted_and(bit(30)), "list"),
    ("BLK-07", DEVICE, ACCEPTED, accepted_but(bit(5)), "list"),
    ("RSVD-04", QUEUE, "        set_data(taken, taken.shared, address, segment.length);", "        set_data(taken, taken.shared, arch::device_address(segment.data), segment.length);", "bouncing"),
    ("RSVD-05", SPLIT_SOURCE, ".descriptors = arch::device_address(descriptors_),", ".descriptors = arch::device_address(descriptors_) + (std::uint64_t{1} << 40),", "start"),
    ("RSVD-14", SPLIT_SOURCE, "    used_event_ = event_idx ? available_ + size : nullptr;", "    used_event_ = available_ + size;", "interrupts"),

    # ---- the configuration space
    ("CFG-01 CFG-02 CFG-03", DEVICE_HEADER, "transport_.configuration_generation() == generation)", "true)", "start"),
    ("LEG-04", DEVICE_HEADER, "is_legacy() ? read(*this) == value :", "is_legacy() ? true :", "start"),
    ("CFG-04", DISK, "    if (device.has(feature::discard)) {", "    if (true) {", "list"),
    ("CFG-05 PCI-12", CAPABILITIES, "    if (place.length < rule.length) {", "    if (place.length < rule.length || place.length > 0x800) {", "pci"),
    ("CFG-06", PCI, "    return offset < where_.device_length && width <= where_.device_length - offset;", "    return true;", "virtio-pci"),
    ("BLK-04", DEVICE, OFFERED, OFFERED + "    static_cast<void>(transport_.read_config8(32));\n", "start"),
    ("BLK-23", DISK, "    if (device.has(feature::mq)) {", "    if (true) {", "list"),

    # ---- registers on MMIO
    ("MMIO-01", MMIO, "config_generation = 0x0fc;", "config_generation = 0x0f8;", "start"),
    ("MMIO-02", MMIO, "    arch::mmio_write32(registers_ + queue_num, size);\n    arch::mmio_write32(registers_ + queue_desc_low,", "    arch::mmio_write32(registers_ + queue_num_max, size);\n    arch::mmio_write32(registers_ + queue_desc_low,", "start"),
    ("MMIO-03", MMIO, "queue_num_max = 0x034;", "queue_num_max = 0x038;", "start"),
    ("MMIO-04", MMIO, "static_cast<std::uint8_t>(arch::mmio_read32(registers_ + device_status));", "arch::mmio_read8(registers_ + device_status);", "start"),
    ("MMIO-05", MMIO, "    return arch::mmio_read16(registers_ + config + offset);", "    return static_cast<std::uint16_t>(arch::mmio_read32(registers_ + config + (offset & ~std::size_t{3})) >> 8 * (offset & 2));", "start"),
    ("MMIO-06 MMIO-07", MMIO, "    if (arch::mmio_read32(registers + magic_value) != magic) {", "    if (arch::mmio_read32(registers + magic_value) == 0) {", "start"),
    ("MMIO-08 MMIO-09", MMIO, "    if (slot.version != 1 && slot.version != 2) {", "    if (slot.version == 0) {", "start"),
    ("MMIO-10 MMIO-26 MMIO-27", MMIO, "    if (slot.id == device_id::none) {", "    if (false) {", "start"),
    ("MMIO-11", MMIO, "        slot.outcome = error::no_device;", "        slot.outcome = error::not_virtio;", "start"),
    ("MMIO-12", MMIO, SELECT_AND_READ, "    const std::uint64_t low_word", "start"),
    ("MMIO-13", MMIO, "    arch::mmio_write32(registers_ + driver_features_sel, 0);\n    arch::mmio_write32(registers_ + driver_features, low(accepted));\n    arch::mmio_write32(registers_ + driver_features_sel, 1);",
     "    arch::mmio_write32(registers_ + driver_features, low(accepted));\n    arch::mmio_write32(registers_ + driver_features_sel, 1);", "start"),
    ("MMIO-14", DEVICE, "std::min({largest, at_most, max_queue_size})", "std::min(at_most, max_queue_size)", "start"),
    ("MMIO-15", MMIO, ENABLE, ENABLE + "    arch::mmio_write32(registers_ + queue_num, size);\n", "start"),
    ("MMIO-18 MMIO-20", TRANSPORT, "arch::mmio_read32(registers.interrupt_status) &\n                               (interrupt_cause::used_buffer | interrupt_cause::configuration_change);", "arch::mmio_read32(registers.interrupt_status);", "interrupts"),
    ("MMIO-19 MMIO-32", TRANSPORT, "        arch::mmio_write32(registers.interrupt_ack, bits);\n", "", "interrupts"),
    ("MMIO-24", MMIO, "    slot.version = arch::mmio_read32(registers + version);", "    slot.version = 2;", "start"),
    ("MMIO-25", MMIO, "    slot.id = device_id{arch::mmio_read32(registers + device_id_register)};", "    slot.vendor = arch::mmio_read32(registers + vendor_id);\n    slot.id = device_id{arch::mmio_read32(registers + device_id_register)};", "start"),
    ("MMIO-28", MMIO, "vendor_id = 0x00c;", "vendor_id = 0x0b0;", "start"),
    ("MMIO-30 MMIOL-13", TRANSPORT, "    const std::uint32_t bits = arch::mmio_read32(registers.interrupt_status) &", "    const std::uint32_t bits = ~std::uint32_t{0} &", "interrupts"),
    ("MMIO-31", CHANNEL, "{ found |= each.ring().interrupted(); }", "{ found |= each.index == 0 && each.ring().interrupted(); }", "interrupts"),
    ("MMIO-33", MMIO, "    arch::mmio_write32(registers_ + queue_sel, index);\n    if (arch::mmio_read32(registers_ + queue_ready) != 0) {", "    if (arch::mmio_read32(registers_ + queue_ready) != 0) {", "start"),
    ("MMIO-34", MMIO, "    if (arch::mmio_read32(registers_ + queue_ready) != 0) {", "    if (false) {", "start"),
    ("MMIO-35 MMIOL-06 PCI-47", DEVICE, "    if (largest == 0) {", "    if (false) {", "start"),
    ("MMIO-36 MMIOL-08 SPLIT-19", SPLIT_SOURCE, "    std::memset(memory, 0, layout.bytes);\n", "", "start"),
    ("MMIO-37", MMIO, "    arch::mmio_write32(registers_ + queue_num, size);\n    arch::mmio_write32(registers_ + queue_desc_low,", ENABLE + "    arch::mmio_write32(registers_ + queue_num, size);\n    arch::mmio_write32(registers_ + queue_desc_low,", "start"),
    ("MMIO-38 NOTE-01", TRANSPORT, "        arch::mmio_write32(registers.queue_notify, registers.queue);", "        arch::mmio_write32(registers.queue_notify, registers.queue + 1u);", "start"),
    ("NOTE-02 NOTE-03 NOTE-04 PACK-04", TRANSPORT, NOTIFICATION_DATA, NOTIFICATION_DATA.replace("position", "(position + 1)"), "features"),

    # ---- the legacy interface
    ("MMIOL-02 LEG-02", MMIO, "    arch::mmio_write32(registers_ + guest_page_size, legacy_page_size); // before", "    // before", "start"),
    ("MMIOL-03", MMIO, "    arch::mmio_write32(registers_ + queue_sel, index);\n    if (arch::mmio_read32(registers_ + queue_pfn) != 0) {", "    if (arch::mmio_read32(registers_ + queue_pfn) != 0) {", "start"),
    ("MMIOL-05", MMIO, "    if (arch::mmio_read32(registers_ + queue_pfn) != 0) {", "    if (false) {", "start"),
    ("MMIOL-07", MMIO, "    arch::mmio_write32(registers_ + queue_num, size);\n    arch::mmio_write32(registers_ + queue_align,", "    arch::mmio_write32(registers_ + queue_align,", "start"),
    ("MMIOL-09", MMIO, "    arch::mmio_write32(registers_ + queue_align, legacy_page_size);\n", "", "start"),
    ("MMIOL-10", MMIO, "static_cast<std::uint32_t>(where.descriptors / legacy_page_size)", "static_cast<std::uint32_t>(where.descriptors)", "start"),
    ("MMIOL-12", MMIO, "    if (arch::mmio_read32(registers_ + queue_pfn) != 0) {", "    if (arch::mmio_read32(registers_ + queue_ready) != 0) {", "start"),
    ("LEG-06", DEVICE, "    if (transport_.queue_size_is_fixed() &&", "    if (false &&", "virtio-pci"),
    ("LEG-07", SPLIT_SOURCE, "    std::memset(memory, 0, layout.bytes);\n", "    std::memset(memory, 0, layout.device_area + 6 + std::size_t{8} * size);\n", "start"),
    ("LEG-08", LAYOUT, "        return {.driver_area = table,", "        return {.driver_area = table + 2,", "start"),
    ("LEG-05 BLKL-01", MMIO, "    return arch::mmio_read32(registers_ + config + offset);", "    return __builtin_bswap32(arch::mmio_read32(registers_ + config + offset));", "start"),
    ("LEG-09", SPLIT, "        place->store(head);", "        place->store(__builtin_bswap16(head));", "start"),
    ("BLKL-03", QUEUE, "    free_slot.memory->header.type.store(static_cast<std::uint32_t>(type));", "    free_slot.memory->header.type.store(__builtin_bswap32(static_cast<std::uint32_t>(type)));", "start"),
    ("LEG-11 BLKL-04", QUEUE, "    trusts_length_ = !format.legacy;", "    trusts_length_ = true;", "requests"),
    ("LEG-12", DEVICE, "    if (!is_legacy()) {\n        transport_.set_status(", "    if (true) {\n        transport_.set_status(", "start"),
    ("LEG-10 BLKL-10", QUEUE, STATUS_DESCRIPTOR, STATUS_DESCRIPTOR.replace("length", "length + 1"), "start"),

    # ---- split rings
    ("SPLIT-01", LAYOUT, "        const std::size_t device_area = round_up(table + available, unit);", "        const std::size_t device_area = legacy ? round_up(table + available, unit) : table + available;", "start"),
    ("SPLIT-02", QUEUE, "    first[0].store(arch::device_address(&memory.header), sizeof memory.header, next,\n", "    first[0].store(arch::device_address(&memory.header), sizeof memory.header, next | write,\n", "start"),
    ("SPLIT-03", LIMITS_HEADER, "inline constexpr std::uint32_t max_segments = 30;", "inline constexpr std::uint32_t max_segments = 60;", "requests"),
    ("SPLIT-04", QUEUE, "        first[i].next.store(static_cast<std::uint16_t>(base + i + 1));", "        first[i].next.store(static_cast<std::uint16_t>(base + i));", "start"),
    ("SPLIT-06 PACK-12", DISK, "    const bool indirect = device_.has(virtio::feature::indirect_desc);", "    const bool indirect = true;", "list"),
    ("SPLIT-07", QUEUE, STATUS_DESCRIPTOR, STATUS_DESCRIPTOR.replace("flags", "flags | indirect"), "start"),
    ("SPLIT-08", DISK, "std::min<std::uint32_t>(seg_max, size - 2u);", "seg_max;", "requests"),
    ("SPLIT-09", QUEUE, "static_cast<std::uint32_t>(sizeof *first * (segments + 2)), indirect,\n", "static_cast<std::uint32_t>(sizeof *first * (segments + 2)), indirect | next,\n", "start"),
    ("SPLIT-11", SPLIT, "        own_field(ring_index).store(now);", "        own_field(ring_index).store(low16(before - std::size_t{1}));", "start"),
    ("SPLIT-12", LAYOUT, "avail_no_interrupt = 1;", "avail_no_interrupt = 3;", "interrupts"),
    ("SPLIT-13", SPLIT, "            own_field(ring_flags).store(avail_no_interrupt);", "", "interrupts"),
    ("SPLIT-14", SPLIT, "        if (used_event_ == nullptr) {\n            own_field(ring_flags).store(avail_no_interrupt);", "        if (true) {\n            own_field(ring_flags).store(avail_no_interrupt);", "interrupts"),
    ("SPLIT-16", DISK, "    if (told_.load(std::memory_order_seq_cst) != 0) {\n", "    if (true) {\n", "interrupts"),
    ("SPLIT-17 SPLIT-18", ENTROPY, "            received_ = length;\n", "            received_ = given.expected_length();\n", "entropy"),
    ("SPLIT-20", SPLIT, "        const bool found = in_high_bits(used_index() - taken) != 0;\n        if (used_event != nullptr ?", "        const bool found = in_high_bits(used_index() - taken) != 0;\n        if (true ?", "interrupts"),
    ("SPLIT-21", LAYOUT, "used_no_notify = 1;", "used_no_notify = 0;", "interrupts"),
    ("SPLIT-22", SPLIT, "                                  : (device_field(ring_flags).load() & used_no_notify) == 0) {", "                                  : (device_field(ring_flags).load() & used_no_notify) != 0) {", "interrupts"),
    ("SPLIT-23", SPLIT, WANTED, WANTED.replace("? ", "? (device_field(ring_flags).load() & used_no_notify) == 0 && "), "interrupts"),
    ("SPLIT-24", SPLIT, WANTED, WANTED.replace("event(),", "event() + 1,"), "interrupts"),
    ("SPLIT-25", SPLIT, WANTED, "used_event != nullptr ? true\n", "interrupts"),
    ("SPLIT-26", SPLIT, "        arch::fence_publish();\n        own_field(ring_index).store(now);", "        own_field(ring_index).store(now);", "start"),
    ("SPLIT-27 SPLIT-41", SPLIT, "        arch::fence_full();\n        if (used_event_ != nullptr) {\n            return crossed", "        if (used_event_ != nullptr) {\n            return crossed", "start"),
    ("SPLIT-31 SPLIT-32", SPLIT, "        const bool found = in_high_bits(used_index() - taken) != 0;", "        const bool found = false;", "interrupts"),
    ("SPLIT-33 SPLIT-29", SPLIT, "        place->store(head);", "        place->store(static_cast<std::uint16_t>(head + size_));", "start"),
    ("SPLIT-34", SPLIT, "        next_used_ = next;\n        taken_ += took;", "        next_used_ = next;\n        *const_cast<std::byte*>(device_area_) = std::byte{1};\n        taken_ += took;", "start"),
    ("SPLIT-35", QUEUE, "static_cast<std::uint16_t>(device_writes ? next | write : next)", "static_cast<std::uint16_t>(device_writes ? next | write | 8 : next)", "start"),
    ("SPLIT-37", DEVICE, "std::bit_floor(allowed)", "allowed", "start"),
    ("SPLIT-38", SLOTS, "        free_ = taken.next_free;\n        return taken;", "        return taken;", "requests"),

    # ---- the bus
    ("PCI-01", CAPABILITIES, "first_modern = 0x1040;", "first_modern = 0x1041;", "pci"),
    ("PCI-02", CAPABILITIES, "    case 0x1001: identity.id = device_id::block; break;\n", "", "pci"),
    ("PCI-03", CAPABILITIES, "    if (of.vendor != virtio_vendor ||", "    if (of.revision > 1 || of.vendor != virtio_vendor ||", "pci"),
    ("PCI-04", CAPABILITIES, "    case 0x1001: identity.id = device_id::block; break;", "    case 0x1001: identity.id = device_id{of.subsystem}; break;", "pci"),
    ("PCI-07", CAPABILITIES, "            continue; // PCI_CFG, shared memory, or reserved", "            return pci_structures_error::capability_damaged;", "pci"),
    ("PCI-08", CAPABILITIES, "        if (found[kind].address != 0) {\n            continue;", "        if (false) {\n            continue;", "pci"),
    ("PCI-09", CAPABILITIES, "    if (space.read8(of.address, at(cap_len)) < rule.capability_length ||", "    if (space.read8(of.address, at(cap_len)) != rule.capability_length ||", "pci"),
    ("PCI-10", CAPABILITIES, "        return {}; // 4.1.4: other values are reserved, and ignored", "        return failed(pci_structures_error::bar_missing);", "pci"),
    ("PCI-13", CAPABILITIES, "    if (place.length < rule.length) {", "    if (false) {", "pci"),
    ("PCI-14", CAPABILITIES, "    const std::uint32_t offset = space.read32(of.address, at(offset_field));\n", "    const std::uint32_t offset = space.read32(of.address, at(offset_field));\n    space.write32(of.address, at(offset_field), offset);\n", "pci"),
    ("PCIL-04", CAPABILITIES, "    if (!any) {", "    if (true) {", "pci"),
    ("PCIL-05", CAPABILITIES, "        return pci_structures_error::not_modern;\n    }\n    for", "        return pci_structures_error::common_missing;\n    }\n    for", "pci"),
    ("PCI-33", MSIX, "size_less_one = 0x7ff;", "size_less_one = 0xff;", "pci"),

    # ---- registers on PCI
    ("PCI-05", PCI, "    arch::mmio_write8(registers_.status, bits);", "    arch::mmio_write16(registers_.status, bits);", "virtio-pci"),
    ("PCI-16", PCI, SIZE_ON_PCI, SIZE_ON_PCI + "    arch::mmio_write16(where_.common + queue_notify_off, index);\n", "virtio-pci"),
    ("PCI-17", PCI, SIZE_ON_PCI, SIZE_ON_PCI + "    arch::mmio_write16(where_.common + 56, index);\n", "virtio-pci"),
    ("PCI-18", PCI, SIZE_ON_PCI, "    arch::mmio_write16(where_.common + queue_size_field, 0);\n", "virtio-pci"),
    ("PCI-19", PCI, SIZE_ON_PCI, "    arch::mmio_write16(where_.common + queue_size_field, static_cast<std::uint16_t>(size - 1));\n", "virtio-pci"),
    ("PCI-20", PCI, ENABLE_ON_PCI, ENABLE_ON_PCI + SIZE_ON_PCI, "virtio-pci"),
    ("PCI-21", PCI, "for (std::uint8_t bits; (bits = status()) != 0;) {", "for (std::uint8_t bits; (bits = status()) != 0 && false;) {", "virtio-pci"),
    ("PCI-22", PCI, ENABLE_ON_PCI, ENABLE_ON_PCI.replace("1);", "0);") + ENABLE_ON_PCI, "virtio-pci"),
    ("PCI-28", PCI, "    case 2: return {.bits = interrupt_cause::used_buffer};", "    case 2: return {.bits = arch::mmio_read8(registers_.isr) | interrupt_cause::used_buffer};", "virtio-pci"),
    ("PCI-36", PCI, "!write_vector(registers_.configuration_vector, 0)", "!write_vector(registers_.configuration_vector, vectors_.count)", "virtio-pci"),
    ("PCI-37 PCI-38", PCI, "    return arch::mmio_read16(field) == vector;", "    return true;", "virtio-pci"),
    ("PCI-39", TRANSPORT, "        arch::mmio_write16(registers.queue_notify_16, registers.queue);", "        arch::mmio_write32(registers.queue_notify_16, registers.queue);", "virtio-pci"),
    ("PCI-40", TRANSPORT, f"        arch::mmio_write32(registers.queue_notify_with_data, {NOTIFICATION_DATA});", "        arch::mmio_write16(registers.queue_notify_with_data, registers.queue);", "features"),
    ("PCI-41", TRANSPORT, "        arch::mmio_write16(registers.queue_notify_16, registers.queue);", "        arch::mmio_write16(registers.queue_notify_16, static_cast<std::uint16_t>(registers.queue ^ 1));", "virtio-pci"),
    ("PCI-42", TRANSPORT, NOTIFICATION_DATA, NOTIFICATION_DATA.replace("registers.queue", "(registers.queue ^ 1u)"), "features"),
    ("PCI-43 PCI-44", PCI, "? arch::mmio_read16(where_.common + queue_notif_config_data)", "? index", "features"),
    ("PCI-45 PCI-49", PCI, "    case 0: return {.bits = arch::mmio_read8(registers_.isr) & both};", "    case 0: return {.bits = arch::mmio_read8(registers_.isr) & interrupt_cause::used_buffer};", "virtio-pci"),
    ("PCI-46", PCI, "std::uint64_t{arch::mmio_read16(where_.common + queue_notify_off)} *", "std::uint64_t{index} *", "virtio-pci"),
    ("PCI-48", PCI, "    // The zeroed rings before the write that enables the queue: pairs with the device's first read of the rings.\n    arch::fence_doorbell();\n" + ENABLE_ON_PCI, ENABLE_ON_PCI, "virtio-pci"),
    ("PCI-50", PCI, "    case 1: return {.bits = configuration_may_have_changed() ? both : interrupt_cause::used_buffer};", "    case 1: return {.bits = interrupt_cause::used_buffer};", "virtio-pci"),
    ("PCIL-01", PCI, "queue_select = 14;       // 16", "queue_select = 12;       // 16", "virtio-pci"),
    ("PCIL-03", PCI, "config_with_vectors = 24;", "config_with_vectors = 20;", "virtio-pci"),
    ("PCIL-08", PCI, "static_cast<std::uint32_t>(where.descriptors / legacy_page_size)", "static_cast<std::uint32_t>(where.descriptors)", "virtio-pci"),

    # ---- requests
    ("BLK-01 BLK-02", LIMITS, "    known.can_flush = has(feature::flush);", "    known.can_flush = false;", "list"),
    ("BLK-03", LIMITS, "raw.writeback != 0 : known.can_flush;", "raw.writeback != 0 : false;", "list"),
    ("BLK-05", DISK, "    read_changing_configuration();\n    count_capacity_change(before);", "    count_capacity_change(before);", "requests"),
    ("BLK-06", ADMISSION, "    if (sectors > limits.capacity || sector > limits.capacity - sectors) {", "    if (false) {", "requests"),
    ("BLK-08", QUEUE, "    make_available(take_slot(owner, 0), owner, owner.sector, slot::irregular | 1);", "    make_available(take_slot(owner, 0), owner, owner.sector + 1, slot::irregular | 1);", "start"),
    ("BLK-09", QUEUE, "    make_available(take_slot(owner, 0), owner, owner.sector, slot::irregular | 1);", "    make_available(take_slot(owner, 1), owner, owner.sector, slot::irregular | 1);", "start"),
    ("BLK-10", QUEUE, "piece.segments[i].data), piece.segments[i].length);", "piece.segments[i].data), piece.segments[i].length - 8);", "start"),
    ("BLK-11 BLK-12", QUEUE, "static_cast<std::uint32_t>(sizeof *first * piece.count)", "static_cast<std::uint32_t>(sizeof *first * piece.count - 4)", "requests"),
    ("BLK-13", QUEUE, "arch::device_address(&taken.memory->id), virtio_blk::id_length);", "arch::device_address(&taken.memory->id), virtio_blk::id_length - 1);", "start"),
    ("BLK-14", LIMITS, "said_or(raw.max_discard_seg, 1);", "16;", "requests"),
    ("BLK-15", LIMITS, "said_or(raw.max_secure_erase_seg, 1);", "16;", "requests"),
    ("BLK-16", LIMITS, "said_or(raw.max_write_zeroes_seg, 1);", "16;", "requests"),
    ("BLK-18", ADMISSION_HEADER, "&& !limits.can_flush;", "&& !limits.write_cache;", "cache"),
    ("BLK-19", PIECES, "of.has(operation::unmaps) ? virtio_blk::unmap_flag : 0;", "virtio_blk::unmap_flag;", "requests"),
    ("BLK-21", QUEUE, "    case virtio_blk::status_byte::io_error: return status::io_error;", "    case virtio_blk::status_byte::io_error: return status::ok;", "requests"),
    ("BLK-24", LIMITS, "known.size_max = segment >= block ? round_down(segment, block) : segment;", "known.size_max = max_bytes;", "requests"),
    ("BLK-25", LIMITS, "known.seg_max = std::min(said_or(raw.seg_max, 1), max_segments);", "known.seg_max = max_segments;", "requests"),
    ("BLK-26", ADMISSION, "        if (limits.read_only) {\n            return status::read_only;\n        }\n        [[fallthrough]];", "        [[fallthrough]];", "requests"),
    ("BLK-27", ADMISSION, "((sector | sectors) & unaligned) != 0", "false", "requests"),
    ("BLK-28", LIMITS, "        has(feature::discard) ? round_down", "        true ? round_down", "requests"),
    ("BLK-29 SPLIT-36", QUEUE, STATUS_DESCRIPTOR, STATUS_DESCRIPTOR.replace("end.flags", "0"), "start"),
    ("BLK-30", QUEUE, "    make_available(taken, owner, 0, slot::irregular | 1);", "    make_available(taken, owner, 8, slot::irregular | 1);", "requests"),
    ("BLK-31", QUEUE, "header.reserved.store(0);", "header.reserved.store(1);", "start"),
    ("BLK-32", PIECES, ".flags = flags};", ".flags = flags | 2};", "requests"),
    ("BLK-33", PIECES, "    if (of.length <= allowed.max_sectors) {", "    if (true) {", "requests"),
    ("BLK-34", PIECES, "std::max<std::uint32_t>(allowed.alignment, 1);", "1;", "requests"),
    ("BLK-36", QUEUE_HEADER, "return in_flight() == 0 || !(all || reset_requested_);", "return in_flight() == 0 || !reset_requested_;", "cache"),
    ("BLK-37", QUEUE, "        each.preset('\\0'); // QEMU writes no padding", "        static_cast<void>(each);", "trust"),
    ("BLK-38", QUEUE, "    default: return status::device_error;", "    default: return status::ok;", "requests"),
    ("BLK-40", QUEUE, "            return value <= largest ? value : std::uint16_t{0};", "            return value;", "requests"),
    ("BLKL-05", BLK_HEADER, "    flush = 4,", "    flush = 5,", "start"),

    # ---- zones
    ("BLKZ-01 BLKZ-03 BLKZ-06 BLKZ-07", BLK, "        wanted &= ~feature::zoned;", "", "zones"),
    ("BLKZ-02", BLK, "wanted &= ~(feature::discard | feature::write_zeroes);", "wanted &= ~feature::write_zeroes;", "zones"),
    ("BLKZ-05", DISK, "    if (is_zoned_without_feature()) { // and", "    if (false) { // and", "zones"),
    ("BLKZ-09", PIECES, "    piece.sector = of.sector;\n    piece.count = 0;\n    std::uint32_t room = max_bytes;", "    piece.sector = of.sector + limits.capacity;\n    piece.count = 0;\n    std::uint32_t room = max_bytes;", "zones"),
    ("BLKZ-11", ADMISSION, "    if (candidate.sector % limits.zone_sectors != 0) {", "    if (false) {", "zones"),
    ("BLKZ-12", DISK, "request_type::zone_reset_all, 0,", "request_type::zone_reset_all, properties().zone_sectors,", "zones"),
    ("BLKZ-13", ADMISSION, "appends ? from_start == 0 :", "appends ? true :", "zones"),
    ("BLKZ-14 BLKZ-17", ADMISSION, "sectors % granularity == 0 && sectors <= room", "sectors <= room", "zones"),
    ("BLKZ-15", ADMISSION, "appends ? limits.max_append_sectors :", "appends ? limits.zone_sectors :", "zones"),
    ("BLKZ-18", ADMISSION, ": candidate.sector % granularity == 0;", ": true;", "zones"),
    ("BLKZ-19", ADMISSION, "limits.zone_sectors - from_start);", "limits.zone_sectors);", "zones"),
    ("BLKZ-20", ADMISSION, "(sector % limits.zone_sectors != 0 || sectors % limits.zone_sectors != 0)", "false", "zones"),

    # ---- resets of single queues
    ("VQR-03", MMIO, "    arch::mmio_write32(registers_ + queue_num, size);\n    arch::mmio_write32(registers_ + queue_desc_low,", "    arch::mmio_write32(registers_ + queue_desc_low,", "resets"),
    ("VQR-04", DISK, "device_.has(virtio::feature::ring_reset) && !queue_resets_fail_;", "!queue_resets_fail_;", "resets"),
    ("MMIO-21", MMIO, "    while (arch::mmio_read32(registers_ + queue_reset) != 0) {", "    while (false) {", "resets"),
    ("PCI-23", PCI, "    while (arch::mmio_read16(where_.common + queue_reset) != 0) {", "    while (false) {", "resets"),

    # ---- in order
    ("SPLIT-10", QUEUE, "        first[i].next.store(static_cast<std::uint16_t>(base + i + 1));", "        first[i].next.store(static_cast<std::uint16_t>(base + i));", "in-order"),
    ("SPLIT-39", SLOTS, "        (full() ? free_ : last_free_->next_free) = &done;\n", "        done.next_free = free_;\n        free_ = &done;\n", "in-order"),
    ("SPLIT-40", SPLIT, "        const std::size_t chains = ((id - next) & (size_ - 1u)) + 1;", "        const std::size_t chains = 1;", "in-order"),

    # ---- packed rings
    ("PACK-01", PACKED_LAYOUT, "return {.driver_event = ring,", "return {.driver_event = ring + 2,", "packed"),
    ("PACK-02", PACKED, HAND_OVER, HAND_OVER + "    ring_->address.store(0);\n", "packed"),
    ("PACK-03", PACKED, HAND_OVER, HAND_OVER + "    held_back_->word.store(held_back_word_ + 1);\n", "packed"),
    ("PACK-06", LIMITS, "known.seg_max = std::min(said_or(raw.seg_max, 1), max_segments);", "known.seg_max = max_segments;", "requests"),
    ("PACK-07 PACK-14", DISK, "std::min<std::uint32_t>(seg_max, size - 2u);", "seg_max;", "packed"),
    ("PACK-08", QUEUE, "    first[0].store_in_packed_table(arch::device_address(&memory.header), sizeof memory.header, 0);", "    first[0].store_in_packed_table(arch::device_address(&memory.header), sizeof memory.header, write);", "packed"),
    ("PACK-09 PACK-10", PACKED_SLOTS, "        front_ = taken.next_free;\n        return taken;", "        return taken;", "packed"),
    ("PACK-13", QUEUE, "store_in_packed_table(end.address, end.length, end.flags);", "store_in_packed_table(end.address, end.length, static_cast<std::uint16_t>(end.flags | 1));", "packed"),
    ("PACK-15", QUEUE, "sizeof(virtio::descriptor), 0, virtio::descriptor_flag::indirect);", "sizeof(virtio::descriptor), 0, virtio::descriptor_flag::indirect | virtio::descriptor_flag::next);", "packed"),
    ("PACK-16", PACKED, "    arch::fence_publish();\n" + HAND_OVER, HAND_OVER, "packed"),
    ("PACK-17", PACKED_HEADER, "        arch::fence_full();\n        const bool found", "        const bool found", "packed"),
    ("PACK-31", PACKED_SLOTS, "        while (taken != &last) {\n", "        for (bool once = true; once; once = false) {\n", "in-order"),
]  # fmt: skip

# Rows that no change of one line violates.
BY_CONSTRUCTION = {
    "VQR-01": "that a queue was reset is seen twice: after the reset, and before the queue is set up again",
    "MMIO-17": "no queue is stopped by itself: there is no line that could do it wrongly",
    "SPLIT-05": "with IN_ORDER each request has one descriptor in the ring, which points to a table",
    "PACK-11": "a list is written from its last descriptor to the first, and the first one of a batch is held back: it takes two lines",
    "BLK-20": "the driver keeps nothing of what sectors hold: it has nothing to assume about",
}

MAIN = "tests/CMakeFiles/inflight_test_main.dir/host/main.cpp.o"
MODEL = ("tests/libinflight_model.a", "tests/libinflight_machine.a")
LONGEST = 300  # seconds that a test may take
LIBRARIES = ("async", "pci", "virtio", "block", "entropy", "console")
FOLDER = ROOT / "build" / "host-debug"


class Build:
    """A build folder: how its units are compiled, what they include, and where their objects are."""

    def __init__(self, folder):
        self.folder = folder
        self.commands = {}
        for entry in json.loads((folder / "compile_commands.json").read_text()):
            command = shlex.split(entry["command"])
            self.commands[command[command.index("-o") + 1]] = command
        self.outputs = {}  # of units, by target
        for output, command in self.commands.items():
            target = next(part for part in output.split("/") if part.endswith(".dir")).removesuffix(".dir")
            source = pathlib.Path(command[command.index("-c") + 1])
            if source.is_relative_to(ROOT):
                self.outputs[target, source.relative_to(ROOT)] = output
        self.included = {}

    def bring_up_to_date(self, killers, jobs):
        """Compiles what these are made of. False, and the compiler's message has been printed, if that fails."""
        Killer.build_folder = self
        objects = {killer.output_of(unit) for killer in killers for unit in killer.units(ROOT)}
        made = subprocess.run(["ninja", "-C", self.folder, f"-j{jobs}", *sorted(objects), MAIN, *MODEL], text=True, capture_output=True,
                              check=False)
        if made.returncode != 0:
            print(made.stdout + made.stderr, file=sys.stderr)
            return False
        self.included = self.dependencies()
        return True

    def dependencies(self):
        """The files of ours that each object was made of."""
        told = subprocess.run(["ninja", "-C", self.folder, "-t", "deps"], text=True, capture_output=True, check=True)
        found = {}
        output = ""
        for line in told.stdout.splitlines():
            if line.startswith(" "):
                path = os.path.realpath(self.folder / line.strip())
                if path.startswith(f"{ROOT}/"):
                    found[output].add(path[len(f"{ROOT}/") :])
            elif ":" in line:
                output = line.split(":")[0]
                found[output] = set()
        return found


class Killer(mutants.Killer):
    """Tests of a target of the build: the units of the driver and of these tests are objects of the build."""

    build_folder: Build

    def __init__(self, target, tests, command=()):
        super().__init__([], [], [f"tests/host/{test}_test.cpp" for test in tests], ["--color_output=no", *command])
        self.target = target

    def units(self, tree):
        libraries = [f"inflight_{library}" for library in LIBRARIES]
        return [unit for target, unit in self.build_folder.outputs if target in libraries] + self.files

    def output_of(self, unit):
        """The object, relative to the build."""
        targets = [self.target] if unit in self.files else [f"inflight_{library}" for library in LIBRARIES]
        return next(self.build_folder.outputs[each, unit] for each in targets
                    if (each, unit) in self.build_folder.outputs)

    def touched_by(self, tree, name):
        return [unit for unit in self.units(tree)
                if str(unit) == name or name in self.build_folder.included.get(self.output_of(unit), ())]

    def prepare(self, tree, which):
        return self.build(tree, which, [])

    def build(self, tree, which, units):
        objects = []
        for part, members in mutants.parts_of(self.units(tree)).items():
            touched = [unit for unit in members if unit in units]
            if len(touched) > 2:  # a header: they read what they share once
                (tree / f"{part}.cpp").write_text("".join(f'#include "{unit}"\n' for unit in members))
                sources = {members[0]: f"{part}.cpp"}
            else:
                sources = {unit: unit for unit in touched}
                objects += [self.build_folder.folder / self.output_of(unit) for unit in members if unit not in units]
            for unit, source in sources.items():
                objects.append(tree / f"{str(source).replace('/', '.')}.o")
                done = subprocess.run(self.compiling(tree, unit, source, objects[-1]), cwd=self.build_folder.folder,
                                      text=True, capture_output=True, check=False)
                if done.returncode != 0:
                    return done.stderr
        done = subprocess.run(["g++", *objects, *(self.build_folder.folder / each for each in (MAIN, *MODEL)),
                               "-lboost_unit_test_framework", "-fuse-ld=gold", "-Wl,-S", "-o", tree / f"run-{which}"], text=True, capture_output=True,
                              check=False)
        return done.stderr if done.returncode != 0 else None

    def run(self, tree, which, seeds):
        """As that of mutants.py, but no longer than until the first failure is told."""
        said = []
        started = time.monotonic()
        with subprocess.Popen([f"./run-{which}", *self.command], cwd=tree, errors="replace", stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as test:
            alarm = threading.Timer(LONGEST, test.kill)
            alarm.start()
            for line in test.stdout:
                said.append(line)
                if "error: in" in line:
                    test.kill()
            alarm.cancel()
        if time.monotonic() - started > LONGEST:
            said.append("it did not end")
        return test.returncode == 0, "".join(said)

    def compiling(self, tree, unit, source, into):
        """The command of the build for a unit, but with a source of the tree, and what that includes."""
        original = iter(self.build_folder.commands[self.output_of(unit)])
        command = []
        for word in original:
            if word == "-include" or word == "-o":
                next(original)  # no precompiled header: what it is made of may have changed
            elif word.startswith("-I") and pathlib.Path(word[2:]).is_relative_to(ROOT) and "/build/" not in word:
                command.append(f"-I{tree / pathlib.Path(word[2:]).relative_to(ROOT)}")
            elif word == str(ROOT / unit):
                command.append(str(tree / source))
            elif word not in ("-Winvalid-pch", "-g"):
                command.append(word)
        return [*command, "-w", "-g0", "-o", str(into)]


TESTS = {
    "start": Killer("driver_test", ["disk_start"], [
        "--run_test=initialisation", "--run_test=!initialisation/a_device_that_is_removed_meanwhile_is_given_up_in_time"]),
    "list": Killer("driver_test", ["disk_start"], [
        "--run_test=features", "--run_test=!features/all_combinations_of_features_work"]),
    "requests": Killer("driver_test", ["request", "ranges"], ["--run_test=!requests/the_indices_of_the_rings_wrap"]),
    "interrupts": Killer("driver_test", ["disk_interrupts"]),
    "trust": Killer("driver_test", ["driver_trust", "hostile_edges"]),
    "cache": Killer("driver_test", ["write_cache"]),
    "bouncing": Killer("driver_test", ["dma_memory"]),
    "entropy": Killer("entropy_test", ["entropy"]),
    "zones": Killer("driver_test", ["zoned"]),
    "packed": Killer("driver_test", ["hostile_edges"], ["--run_test=hostile_edges/a_length_without_write_means_nothing"]),
    "features": Killer("ring_features_test", ["ring_features"]),
    "resets": Killer("ring_features_test", ["queue_reset"]),
    "in-order": Killer("ring_features_test", ["in_order"]),
    "virtio-pci": Killer("virtio_pci_test", ["virtio_pci"]),
    "pci": Killer("pci_test", ["pci_capabilities", "pci_enumeration", "pci_msix", "pci_placement"]),
}


def rows_without_breakage():
    """What is wrong with the ids of the table: a row that is not there, is unknown, or cannot be violated and is."""
    rows = {row.id: row for row in requirements.read()[0]}
    broken = {id for ids, *_ in BREAKAGES for id in ids.split()}
    problems = [f"{id} is no row" for id in sorted((broken | set(BY_CONSTRUCTION)) - set(rows))]
    problems += [f"{id} is broken, and said to be impossible to break" for id in sorted(broken & set(BY_CONSTRUCTION))]
    for row in rows.values():
        covered = row.id in broken or row.id in BY_CONSTRUCTION
        if row.binds and (row.mandatory or row.level.startswith("SHOULD")) and not covered:
            problems.append(f"{row.id} ({row.level}) has no breakage, and no reason why there is none")
        if not row.binds and covered:
            problems.append(f"{row.id} has a breakage, and is {row.verdict}")
    return problems


def chosen_of(options):
    """The entries as mutants: file, text, replacement, why, killer."""
    table = [(file, text, instead, ids, killer) for ids, file, text, instead, killer in BREAKAGES]
    if options.only:
        table = [each for each in table if options.only in each[0] or any(
            id.startswith(options.only) for id in each[3].split())]
    if options.killer:
        table = [each for each in table if each[4] == options.killer]
    if options.sample:
        quick = [each for each in table if each[0].endswith(".cpp") and each[4] in ("start", "list")]
        table = random.Random(options.seed).sample(quick, min(options.sample, len(quick)))
    return table


def main():
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=FOLDER)
    parser.add_argument("--only", default="")
    parser.add_argument("--killer", default="")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()

    chosen = chosen_of(options)
    problems = rows_without_breakage()
    for problem in problems:
        print(problem, file=sys.stderr)
    if mutants.misfits(chosen) or problems:
        return 2
    if options.check:
        return 0

    rows = {row.id: row for row in requirements.read()[0]}
    if not Build(options.build).bring_up_to_date([TESTS[killer] for *_, killer in chosen], options.jobs):
        return 2
    mutants.KILLERS = TESTS
    if options.sample:
        print(f"seed {options.seed}", flush=True)
    found_of = {}
    survived = []
    uncompiled = []
    try:
        for mutant, found, said, seconds in mutants.try_all(chosen, 0, options.jobs):
            file, _, _, ids, killer = mutant
            if found is None:
                uncompiled.append(f"{ids} in {file}:\n{said}")
                print(f"does not compile: {ids} in {file}", flush=True)
                continue
            rules = {rule for id in ids.split() for rule in (id, *rows[id].where)}
            by = next((f"{rule}: " for rule in sorted(rules) if f"{rule}: " in said), "")
            print(f"{'found   ' if found else 'SURVIVED'} {seconds:5.1f} s  {ids} in {file} ({killer})"
                  + (f"\n                   {by}{mutants.first_finding(said)}" if found else ""), flush=True)
            for id in ids.split():
                found_of[id] = found_of.get(id, False) or found
            survived += [] if found else [f"{ids} in {file}"]
    except mutants.Unusable as problem:
        print(problem, file=sys.stderr)
        return 2
    for name, levels in (("MUST and MUST NOT", ("MUST", "MUST NOT")), ("SHOULD and SHOULD NOT", ("SHOULD", "SHOULD NOT")),
                         ("others", ("MAY", "IMPLIED"))):
        these = [found for id, found in found_of.items() if rows[id].level in levels]
        print(f"{name}: {sum(these)} of {len(these)} rows")
    for each in survived:
        print(f"survived: {each}")
    for each in uncompiled:
        print(f"does not compile: {each}", file=sys.stderr)
    print(f"{len(chosen) - len(survived) - len(uncompiled)} of {len(chosen)} breakages found")
    return 2 if uncompiled else 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
