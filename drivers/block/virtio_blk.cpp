#include "inflight/drivers/block/virtio_blk.hpp"

namespace inflight::block::virtio_blk {

const char* feature_name(unsigned bit) noexcept {
    switch (bit) {
    case 0: return "BARRIER";
    case 1: return "SIZE_MAX";
    case 2: return "SEG_MAX";
    case 4: return "GEOMETRY";
    case 5: return "RO";
    case 6: return "BLK_SIZE";
    case 7: return "SCSI";
    case 9: return "FLUSH";
    case 10: return "TOPOLOGY";
    case 11: return "CONFIG_WCE";
    case 12: return "MQ";
    case 13: return "DISCARD";
    case 14: return "WRITE_ZEROES";
    case 15: return "LIFETIME";
    case 16: return "SECURE_ERASE";
    case 17: return "ZONED";
    default: return virtio::feature_name(bit);
    }
}

virtio::feature_set wanted_features(virtio::feature_set offered, virtio::feature_set off, zoned_model model) noexcept {
    virtio::feature_set wanted = (known_features | virtio::feature::in_order | virtio::feature::ring_reset) & ~off;
    if ((offered & wanted & feature::flush) == 0) {
        wanted &= ~feature::config_wce; // useless without, and not to be offered alone (5.2.5.2)
    }
    if (is_ordinary(model)) {
        wanted &= ~feature::zoned;
    } else { // no DISCARD (5.2.5.1); and nothing says what a write-zeroes does to a write pointer
        wanted &= ~(feature::discard | feature::write_zeroes);
    }
    // On a split ring, IN_ORDER asks for descriptors in the order of the ring: one for each request, which points to a
    // table.
    if ((offered & ~off & (virtio::feature::indirect_desc | virtio::feature::ring_packed)) == 0) {
        wanted &= ~virtio::feature::in_order;
    }
    return wanted;
}

} // namespace inflight::block::virtio_blk
