#include "inflight/drivers/virtio/transport.hpp"

namespace inflight::virtio {

const char* to_string(error why) noexcept {
    switch (why) {
    case error::none: return "no error";
    case error::not_virtio: return "there is no VIRTIO device at this address: its magic value is wrong";
    case error::unknown_version: return "the device's register layout is neither version 1 nor version 2";
    case error::no_device: return "the slot is empty";
    case error::reset_timeout:
        return "the device does not finish its reset within a second: it is broken, or hangs in I/O";
    case error::version_1_missing: return "the device has the modern register layout but does not offer VERSION_1";
    case error::features_refused:
        return "the device refused the features (FEATURES_OK did not stay set): accept fewer of the optional ones";
    case error::configuration_unstable: return "the device's configuration changes all the time";
    case error::queue_missing: return "the device says that it has no queues, or its first has size 0";
    case error::queue_in_use: return "a queue of the device is in use right after its reset";
    case error::queue_too_small:
        return "a queue has fewer descriptors than the driver needs for one request: give it larger queues";
    case error::queue_size_fixed:
        return "over legacy PCI the device decides the size of its queues, and it is not a power of two, or larger "
               "than "
               "allowed: allow larger queues, or use the modern interface";
    case error::notify_out_of_range:
        return "the notify address of a queue lies outside of the device's notification structure: the device is "
               "broken";
    case error::vector_refused:
        return "the device does not accept an MSI-X vector for its configuration or a queue: use fewer vectors, or "
               "none";
    case error::limits_unusable: return "the limits in the device's configuration leave room for no request";
    case error::zoned_not_accepted:
        return "the disk is a host-managed zoned one, no ordinary disk: accept ZONED, over the modern interface";
    case error::zones_unusable:
        return "what the disk says of its zones (zone_sectors, write_granularity, max_append_sectors, model) "
               "contradicts "
               "itself: it is broken";
    case error::out_of_memory:
        return "no memory is left for the device: use fewer or smaller queues, or give more memory";
    case error::protocol_violation: return "the device broke the rules of its queue: it is broken";
    case error::timed_out: return "the device did not return a buffer in time: it is broken, or has nothing to give";
    case error::needs_reset: return "the device asks for a reset again and again, and does nothing else: it is broken";
    }
    return "unknown error";
}

} // namespace inflight::virtio
