// How operations are cut into device requests, by the rules of the specification and those that pieces.hpp promises: random
// operations, limits and memories. The oracle walks over the operation byte by byte of its bounds and knows nothing of the code.
//
// INFLIGHT_SEED=S repeats what the seed S has found.
#include "drivers/block/pieces.hpp"
#include "tests/host/seed.hpp"

#include <boost/test/unit_test.hpp>
#include <vector>

namespace {

using namespace inflight;
using block::data_piece;
using block::disk_properties;
using block::operation;
using block::virtio_blk::request_type;
using tests::chance;
using tests::pick;

constexpr std::uint64_t sector = 512;

// Memory of pages, some of which lie behind each other for devices. Nothing is ever read or written there.
class paged_memory final : public dma_memory {
  public:
    paged_memory(std::uint64_t page, std::uint64_t salt) : page_{page}, salt_{salt} {}
    std::byte* allocate(std::size_t, std::size_t) noexcept override { return nullptr; }

    // Whether the byte at `address` follows the one before it.
    bool follows(std::uint64_t address) const {
        return page_ == 0 || address % page_ != 0 || ((address / page_ * 0x9e3779b97f4a7c15 ^ salt_) >> 61) < 3;
    }
    std::uint64_t next_break(std::uint64_t address, std::uint64_t end) const {
        if (page_ == 0)
            return end;
        std::uint64_t at = (address / page_ + 1) * page_;
        while (at < end && follows(at))
            at += page_;
        return std::min(at, end);
    }
    std::size_t contiguous(const std::byte* start, std::size_t length) const noexcept override {
        const auto address = reinterpret_cast<std::uintptr_t>(start);
        return static_cast<std::size_t>(next_break(address, address + length) - address);
    }

  private:
    std::uint64_t page_; // 0: all is contiguous
    std::uint64_t salt_;
};

struct part {
    std::uint64_t address;
    std::uint64_t bytes;
};

const std::byte* pointer(std::uint64_t address) {
    return reinterpret_cast<const std::byte*>(address);
}

// One operation, its limits and its memory.
struct example {
    explicit example(std::mt19937_64& random)
        : block{sector << (pick(random, 0, 3) != 0 ? pick(random, 0, 4) : pick(random, 0, 22))},
          memory{page_of(random), random()} {
        limits.logical_block_size = static_cast<std::uint32_t>(block);
        limits.capacity = std::uint64_t{1} << 55;
        limits.seg_max = static_cast<std::uint32_t>(pick(random, 1, 3) == 1 ? 1 : pick(random, 1, 30));
        const std::uint64_t most = block::max_bytes;
        if (block <= most && pick(random, 0, 2) != 0) // whole blocks, or less than one
            limits.size_max = static_cast<std::uint32_t>(
                block *
                pick(random, std::uint64_t{1}, std::min<std::uint64_t>(most / block, random() % 2 ? 20 : most)));
        else
            limits.size_max =
                static_cast<std::uint32_t>(pick(random, std::min(block / 40 + 1, most), std::min(block - 1, most)));
        first_sector = pick(random, std::uint64_t{0}, std::uint64_t{1} << 40) * (block / sector);
        reads = random() % 2 == 0;
        scattered = random() % 2 == 0;
        const unsigned count = scattered ? pick(random, 1U, 20U) : 1;
        for (unsigned i = 0; i < count; ++i) {
            // Some begin where another one ends, some at the end of a page, some anywhere.
            std::uint64_t address = (std::uint64_t{i} + 1) << 41;
            if (!parts.empty() && pick(random, 0, 3) == 0)
                address = parts.back().address + parts.back().bytes;
            else
                address += pick(random, 0U, 2U) * random() % 8192;
            const bool long_one = pick(random, 0, 20) == 0;
            const std::uint64_t blocks =
                long_one ? pick(random, std::uint64_t{1}, (std::uint64_t{5} << 30) / block + 1) : pick(random, 1U, 40U);
            parts.push_back({address, blocks * block});
        }
        for (const part& each : parts) {
            total += each.bytes;
            into.emplace_back(const_cast<std::byte*>(pointer(each.address)), each.bytes);
            from.emplace_back(pointer(each.address), each.bytes);
        }
    }

    std::uint64_t page_of(std::mt19937_64& random) const {
        switch (pick(random, 0, 4)) {
        case 0: return 0;
        case 1: return std::max<std::uint64_t>(block / 2, 4096); // blocks lie in several pages
        case 2: return std::max<std::uint64_t>(block / 16, 512);
        default: return std::max<std::uint64_t>(block, 4096);
        }
    }

    void begin(operation& of) const {
        if (scattered) {
            of.flags = operation::is_scattered;
            of.pieces.segments_left = parts.size();
            if (reads)
                of.pieces.next.into = into.data();
            else
                of.pieces.next.from = from.data();
        }
        of.begin_pieces();
    }
    operation made() const {
        const auto type = reads ? request_type::in : request_type::out;
        return scattered ? operation{type, first_sector, nullptr, 0}
                         : operation{type, first_sector, pointer(parts[0].address), parts[0].bytes};
    }

    // How many segments the block takes that begins there: one ends where memory does not go on, and at size_max bytes.
    std::uint64_t segments_of_block(std::uint64_t address) const {
        std::uint64_t count = 0;
        for (const std::uint64_t end = address + block; address < end; ++count)
            address = std::min(memory.next_break(address, end), address + limits.size_max);
        return count;
    }

    std::uint64_t block;
    disk_properties limits{};
    paged_memory memory;
    std::uint64_t first_sector = 0;
    bool reads = true;
    bool scattered = false;
    std::vector<part> parts;
    std::vector<std::span<std::byte>> into;
    std::vector<std::span<const std::byte>> from;
    std::uint64_t total = 0;
};

// Walks over an example in order, and says what is wrong with a piece; empty if nothing is.
class walk {
  public:
    explicit walk(const example& of) : of_{of} {}

    bool over() const { return done_ == of_.total; }
    bool impossible() const { return of_.segments_of_block(here()) > of_.limits.seg_max; }

    std::string check(const data_piece& piece) {
        const disk_properties& limits = of_.limits;
        if (piece.count == 0)
            return impossible() ? "" : "there is no piece";
        if (piece.count > limits.seg_max)
            return "more segments than seg_max";
        if (piece.sector != of_.first_sector + done_ / sector)
            return "the piece does not begin where the last one has ended";
        std::uint64_t bytes = 0;
        for (const block::data_segment& each : piece.list()) {
            const auto address = reinterpret_cast<std::uintptr_t>(each.data);
            if (over())
                return "there is more than the operation has";
            if (address != here())
                return "a segment is not where the data goes on";
            if (each.length == 0 || each.length > limits.size_max)
                return "a segment is empty, or longer than size_max";
            if (each.length > of_.parts[part_].bytes - offset_)
                return "a segment goes beyond its part of the buffer";
            if (of_.memory.next_break(address, address + each.length) != address + each.length)
                return "a segment is not contiguous for a device";
            bytes += each.length;
            done_ += each.length;
            offset_ += each.length;
            if (offset_ == of_.parts[part_].bytes) {
                ++part_;
                offset_ = 0;
            }
        }
        if (bytes % of_.block != 0)
            return "a part of a block";
        if (bytes > std::max<std::uint64_t>(std::uint64_t{1} << 30, of_.block))
            return "longer than a request may be";
        // And no shorter than it has to be.
        if (!over() && bytes + of_.block <= std::uint64_t{1} << 30 &&
            piece.count + of_.segments_of_block(here()) <= limits.seg_max)
            return "there was room for another block";
        return "";
    }

  private:
    std::uint64_t here() const { return of_.parts[part_].address + offset_; }

    const example& of_;
    std::size_t part_ = 0;
    std::uint64_t offset_ = 0; // in that part
    std::uint64_t done_ = 0;
};

bool equal(const data_piece& a, const data_piece& b) {
    if (a.sector != b.sector || a.count != b.count)
        return false;
    for (std::uint32_t i = 0; i < a.count; ++i)
        if (a.segments[i].data != b.segments[i].data || a.segments[i].length != b.segments[i].length)
            return false;
    return true;
}

} // namespace

BOOST_AUTO_TEST_SUITE(pieces_tests)

BOOST_AUTO_TEST_CASE(pieces_cover_an_operation_within_the_limits) {
    std::mt19937_64 random = chance(101);
    unsigned impossible = 0, several = 0, scattered = 0;
    for (unsigned run = 0; run < 2000; ++run)
        BOOST_TEST_CONTEXT("run " << run) {
            const example of{random};
            operation under_test = of.made();
            of.begin(under_test);
            walk it{of};
            std::vector<data_piece> pieces;
            std::string wrong;
            while (wrong.empty() && under_test.has_more() && pieces.size() < 5000) {
                next_piece(under_test, of.limits, of.memory, pieces.emplace_back());
                wrong = it.check(pieces.back());
                if (pieces.back().count == 0)
                    break;
            }
            BOOST_TEST(wrong.empty(), wrong);
            if (pieces.back().count == 0) {
                ++impossible;
                BOOST_TEST(it.impossible());
                continue;
            }
            BOOST_TEST((it.over() || pieces.size() == 5000));
            BOOST_TEST(under_test.has_more() == !it.over());
            several += pieces.size() > 1 ? 1 : 0;
            scattered += of.scattered ? 1 : 0;

            // Once more, from the beginning and from where it was between two pieces: the same.
            under_test.restart();
            const std::size_t middle = pick(random, std::size_t{0}, pieces.size() - 1);
            block::operation_position there{};
            data_piece again;
            for (std::size_t i = 0; i < pieces.size(); ++i) {
                if (i == middle)
                    there = under_test.position();
                next_piece(under_test, of.limits, of.memory, again);
                BOOST_TEST(equal(again, pieces[i]));
            }
            under_test.go_to(there);
            next_piece(under_test, of.limits, of.memory, again);
            BOOST_TEST(equal(again, pieces[middle]));
            under_test.end(block::status::ok);
        }
    BOOST_TEST(impossible > 50U); // and none of these in vain
    BOOST_TEST(several > 300U);
    BOOST_TEST(scattered > 300U);
}

// The largest block that there is has more bytes than any other request; and 2^30 is where all others end.
BOOST_AUTO_TEST_CASE(the_largest_sizes) {
    paged_memory memory{0, 0};
    for (const unsigned shift : {9U, 12U, 29U, 30U, 31U}) {
        disk_properties limits{};
        limits.logical_block_size = 1U << shift;
        limits.size_max = block::max_bytes;
        limits.seg_max = 30;
        operation large{request_type::in, 0, pointer(std::uint64_t{1} << 40), std::uint64_t{3} << 31};
        large.begin_pieces();
        for (std::uint64_t done = 0; done < large.pieces.whole.length;) {
            data_piece piece;
            next_piece(large, limits, memory, piece);
            BOOST_TEST(piece.sector == done / sector);
            std::uint64_t bytes = 0;
            for (const auto& each : piece.list())
                bytes += each.length;
            BOOST_TEST(bytes == (shift == 31 ? std::uint64_t{1} << 31 : std::uint64_t{1} << 30));
            BOOST_TEST(piece.count == (shift == 31 ? 2U : 1U));
            done += bytes;
            if (bytes == 0)
                break;
        }
        BOOST_TEST(!large.has_more());
        large.end(block::status::ok);
    }
}

// No segment is longer than the device permits, and no request has more of them; all segments but the last of a range end
// where the device says that its pieces end, as far as there is such a place within reach at which a block ends, too.
BOOST_AUTO_TEST_CASE(ranges_cover_an_operation_and_end_where_the_device_says) {
    std::mt19937_64 random = chance(102);
    unsigned aligned = 0, unreachable = 0, several = 0;
    for (unsigned run = 0; run < 5000; ++run)
        BOOST_TEST_CONTEXT("run " << run) {
            constexpr request_type types[] = {request_type::discard, request_type::write_zeroes,
                                              request_type::secure_erase};
            const request_type type = types[pick(random, 0, 2)];
            const std::uint64_t block = std::uint64_t{1} << pick(random, 0, 22); // sectors
            disk_properties limits{};
            limits.logical_block_size = static_cast<std::uint32_t>(block * sector);
            const std::uint64_t max_blocks =
                pick(random, std::uint64_t{1}, random() % 2 ? 64 : ~std::uint32_t{0} / block);
            const auto most = static_cast<std::uint32_t>(max_blocks * block);
            std::uint32_t alignment = 0;
            switch (pick(random, 0, 3)) {
            case 0: break;
            case 1: alignment = static_cast<std::uint32_t>(random()); break; // of no use, mostly
            default: alignment = static_cast<std::uint32_t>(block * pick(random, std::uint64_t{1}, 2 * max_blocks));
            }
            const std::uint32_t max_segments = random() % 2 ? 1 : pick(random, 1U, block::max_range_segments);
            limits.max_discard_sectors = limits.max_write_zeroes_sectors = limits.max_secure_erase_sectors = 1;
            limits.max_discard_seg = limits.max_write_zeroes_seg = limits.max_secure_erase_seg = 17; // not these
            limits.discard_sector_alignment = limits.secure_erase_sector_alignment = 3;
            if (type == request_type::discard) {
                limits.max_discard_sectors = most;
                limits.max_discard_seg = max_segments;
                limits.discard_sector_alignment = alignment;
            } else if (type == request_type::write_zeroes) {
                limits.max_write_zeroes_sectors = most;
                limits.max_write_zeroes_seg = max_segments;
                alignment = 0; // there is none
            } else {
                limits.max_secure_erase_sectors = most;
                limits.max_secure_erase_seg = max_segments;
                limits.secure_erase_sector_alignment = alignment;
            }
            const bool listed = random() % 2 == 0;
            std::vector<block::sector_range> ranges(listed ? pick(random, 1U, 20U) : 1);
            for (block::sector_range& each : ranges)
                each = {.sector = pick(random, std::uint64_t{0}, (std::uint64_t{1} << 54) / block) * block,
                        .sectors = pick(random, std::uint64_t{1}, max_blocks * (listed ? 4 : 40)) * block};
            operation under_test{type, listed ? 0 : ranges[0].sector, nullptr, listed ? 0 : ranges[0].sectors};
            if (listed) {
                under_test.flags = operation::is_scattered;
                under_test.pieces.segments_left = ranges.size();
                under_test.pieces.next.ranges = ranges.data();
            }
            const bool unmaps = type == request_type::write_zeroes && random() % 2 == 0;
            under_test.flags |= unmaps ? operation::unmaps : std::uint8_t{0};
            under_test.begin_pieces();
            std::size_t range = 0;
            std::uint64_t done = 0; // of it
            std::string wrong;
            while (under_test.has_more() && wrong.empty()) {
                block::range_piece piece;
                next_piece(under_test, limits, piece);
                several += piece.count > 1 ? 1 : 0;
                if (piece.count == 0 || piece.count > max_segments)
                    wrong = "there is no segment, or there are more than the device permits";
                if (piece.count != max_segments && under_test.has_more())
                    wrong = "there was room for another segment";
                for (const auto& each : piece.list()) {
                    if (range == ranges.size()) {
                        wrong = "there is more than the operation has";
                        break;
                    }
                    const std::uint64_t at = ranges[range].sector + done;
                    const std::uint64_t end = ranges[range].sector + ranges[range].sectors;
                    const std::uint64_t stop = each.sector + each.num_sectors;
                    if (each.sector != at)
                        wrong = "a segment does not begin where the last one has ended";
                    else if (each.num_sectors == 0 || each.num_sectors > most)
                        wrong = "a segment is empty, or longer than the device permits";
                    else if (each.num_sectors % block != 0)
                        wrong = "a part of a block";
                    else if (each.flags != (unmaps ? 1U : 0U))
                        wrong = "it has other flags";
                    else if (stop > end)
                        wrong = "there is more than the range has";
                    else if (stop != end) {
                        const std::uint64_t unit = alignment;
                        const std::uint64_t place = unit != 0 ? (at + most) / unit * unit : 0;
                        if (place > at && unit % block == 0) { // it can be reached, and blocks end there
                            ++aligned;
                            if (stop != place)
                                wrong = "a segment does not end where the device says";
                        } else {
                            ++unreachable;
                            if (each.num_sectors != most)
                                wrong = "a segment is shorter than it has to be";
                        }
                    }
                    done += each.num_sectors;
                    if (done == ranges[range].sectors) {
                        ++range;
                        done = 0;
                    }
                }
            }
            BOOST_TEST(wrong.empty(), wrong);
            BOOST_TEST(range == ranges.size());
            under_test.end(block::status::ok);
        }
    BOOST_TEST(aligned > 1000U);
    BOOST_TEST(unreachable > 1000U);
    BOOST_TEST(several > 1000U);
}

BOOST_AUTO_TEST_SUITE_END()
