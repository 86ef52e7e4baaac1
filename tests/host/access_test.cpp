// Tests of the order of requests: what each pattern promises, from the list of a pass.
#include "bench/fio/access.hpp"
#include "tests/host/chi_square.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

namespace inflight::bench {
// Found by their types.
static bool operator==(const access& one, const access& other) {
    return one.what == other.what && one.offset == other.offset && one.length == other.length;
}
} // namespace inflight::bench

namespace {

using namespace inflight;
using namespace inflight::bench;
using tests::chance;
using tests::chi_square;
using tests::deviation_from_uniform;
using tests::pick;

using request = bench::access; // unistd.h has a function of the same name
using requests = std::vector<request>;

constexpr job_pattern all_patterns[] = {job_pattern::read,      job_pattern::write,    job_pattern::randread,
                                        job_pattern::randwrite, job_pattern::rw,       job_pattern::randrw,
                                        job_pattern::trim,      job_pattern::randtrim, job_pattern::trimwrite};

block_sizes sizes(std::initializer_list<block_size_share> shares) {
    block_sizes made;
    made.count = shares.size();
    std::copy(shares.begin(), shares.end(), made.shares.begin());
    return made;
}

job job_of(job_pattern rw, std::uint32_t bs = 4096) {
    job made;
    made.rw = rw;
    made.bs.fill(sizes({{.bytes = bs, .percent = 100}}));
    return made;
}

// The rest of the pass; it must end.
requests rest_of_pass(access_sequence& sequence, std::size_t most = 2'000'000) {
    requests list;
    request each{};
    while (sequence.next(each)) {
        list.push_back(each);
        BOOST_REQUIRE_MESSAGE(list.size() <= most, "the pass does not end");
    }
    BOOST_REQUIRE(!sequence.next(each)); // and stays ended
    return list;
}

requests pass_of(const job& of, access_range range, std::uint64_t seed) {
    access_sequence sequence{of, range, seed};
    return rest_of_pass(sequence);
}

std::uint64_t bytes_of(const requests& list) {
    return std::accumulate(list.begin(), list.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const request& each) { return sum + each.length; });
}

requests only(direction what, const requests& list) {
    requests some;
    std::copy_if(list.begin(), list.end(), std::back_inserter(some),
                 [what](const request& each) { return each.what == what; });
    return some;
}

// Each block from `begin` on, of `bs` bytes.
requests in_order(direction what, std::uint64_t begin, std::uint32_t bs, std::size_t count) {
    requests list;
    for (std::size_t i = 0; i < count; ++i) {
        list.push_back({.what = what, .offset = begin + i * bs, .length = bs});
    }
    return list;
}

bool by_offset(const request& one, const request& other) {
    return one.offset < other.offset;
}

// How far a share of `all` is from `probability`, in standard deviations.
double deviation_of_share(std::size_t found, std::size_t all, double probability) {
    const double mean = static_cast<double>(all) * probability;
    return std::abs(static_cast<double>(found) - mean) / std::sqrt(mean * (1 - probability));
}

} // namespace

BOOST_AUTO_TEST_SUITE(access_order)

BOOST_AUTO_TEST_CASE(sequential_from_the_beginning) {
    const access_range range{.begin = 1 << 20, .end = (1 << 20) + 100 * 4096 + 2048}; // the last half block is left out
    for (const auto& [rw, what] :
         {std::pair{job_pattern::read, direction::read}, std::pair{job_pattern::write, direction::write},
          std::pair{job_pattern::trim, direction::trim}}) {
        job of = job_of(rw);
        of.blockalign.fill(65'536); // means nothing here, as in fio
        access_sequence sequence{of, range, 7};
        const requests expected = in_order(what, 1 << 20, 4096, 100);
        BOOST_TEST((rest_of_pass(sequence) == expected));
        sequence.begin_pass();
        BOOST_TEST((rest_of_pass(sequence) == expected));
        sequence.repeat_pass();
        BOOST_TEST((rest_of_pass(sequence) == expected));
    }
}

BOOST_AUTO_TEST_CASE(each_block_is_trimmed_then_written) {
    const requests list = pass_of(job_of(job_pattern::trimwrite), {.begin = 8192, .end = 8192 + 10 * 4096 + 512}, 1);
    BOOST_REQUIRE(list.size() == 20);
    BOOST_TEST((only(direction::trim, list) == in_order(direction::trim, 8192, 4096, 10)));
    for (std::size_t i = 0; i < list.size(); i += 2) {
        BOOST_TEST((list[i].what == direction::trim && list[i + 1].what == direction::write));
        BOOST_TEST(list[i].offset == list[i + 1].offset);
        BOOST_TEST(list[i].length == list[i + 1].length);
    }
}

BOOST_AUTO_TEST_CASE(mixed_sequential_has_a_place_for_each_direction) {
    for (const std::uint32_t percent : {0U, 1U, 30U, 50U, 75U, 100U}) {
        job of = job_of(job_pattern::rw);
        of.rwmixread = percent;
        constexpr std::size_t blocks = 20'000;
        const requests list = pass_of(of, {.begin = 4096, .end = 4096 + blocks * 4096}, tests::seed());
        BOOST_TEST(list.size() == blocks); // both together
        const requests reads = only(direction::read, list);
        BOOST_TEST((reads == in_order(direction::read, 4096, 4096, reads.size())));
        const requests writes = only(direction::write, list);
        BOOST_TEST((writes == in_order(direction::write, 4096, 4096, blocks - reads.size())));
        if (percent % 100 == 0) {
            BOOST_TEST(reads.size() == blocks * percent / 100);
        } else {
            BOOST_TEST(deviation_of_share(reads.size(), blocks, percent / 100.0) < 5);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_random_map_has_each_block_once) {
    for (const std::size_t blocks : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{17}, std::size_t{64},
                                     std::size_t{1000}, std::size_t{65'536}, std::size_t{70'001}}) {
        for (const job_pattern rw :
             {job_pattern::randread, job_pattern::randwrite, job_pattern::randtrim, job_pattern::randrw}) {
            job of = job_of(rw);
            of.rwmixread = 30;
            const access_range range{.begin = 512, .end = 512 + blocks * 4096 + 4095 / 512 * 512};
            access_sequence sequence{of, range, tests::seed()};
            const requests first = rest_of_pass(sequence);
            BOOST_REQUIRE(first.size() == blocks);
            requests sorted = first;
            std::sort(sorted.begin(), sorted.end(), by_offset);
            for (std::size_t i = 0; i < blocks; ++i) {
                BOOST_REQUIRE(sorted[i].offset == 512 + i * 4096);
                BOOST_REQUIRE(sorted[i].length == 4096);
                BOOST_REQUIRE((rw == job_pattern::randrw ? sorted[i].what != direction::trim
                                                         : sorted[i].what == first.front().what));
            }
            if (rw == job_pattern::randrw && blocks >= 1000) {
                BOOST_TEST(deviation_of_share(only(direction::read, first).size(), blocks, 0.3) < 5);
            }
            sequence.repeat_pass();
            BOOST_REQUIRE(rest_of_pass(sequence) == first);
            sequence.begin_pass();
            const requests second = rest_of_pass(sequence);
            BOOST_REQUIRE(second.size() == blocks);
            if (blocks >= 17) {
                BOOST_REQUIRE(second != first);
                BOOST_REQUIRE(!std::is_sorted(first.begin(), first.end(), by_offset));
            }
            requests sorted_second = second;
            std::sort(sorted_second.begin(), sorted_second.end(), by_offset);
            for (std::size_t i = 0; i < blocks; ++i) {
                BOOST_REQUIRE(sorted_second[i].offset == 512 + i * 4096);
            }
            sequence.repeat_pass();
            BOOST_REQUIRE(rest_of_pass(sequence) == second);
            BOOST_REQUIRE(pass_of(of, range, tests::seed()) == first);
            if (blocks >= 64) {
                BOOST_REQUIRE(pass_of(of, range, tests::seed() + 1) != first);
            }
        }
    }
}

// What random orders have: nothing is to be seen between one request and the next ones, wherever they are on the disk,
// nor between the place in the order and the place on the disk.
BOOST_AUTO_TEST_CASE(a_random_order_has_no_pattern) {
    double worst = 0;
    for (const std::size_t blocks : {std::size_t{1} << 16, std::size_t{100'000}}) {
        for (const bool map : {true, false}) {
            for (std::uint64_t seed = tests::seed(); seed < tests::seed() + 3; ++seed) {
                job of = job_of(job_pattern::randread);
                of.norandommap = !map;
                const requests list = pass_of(of, {.begin = 0, .end = blocks * 4096}, seed);
                BOOST_REQUIRE(list.size() == blocks);
                constexpr std::size_t parts = 16;
                const auto part = [blocks](const request& each) {
                    return each.offset / 4096 * parts / blocks;
                };
                for (const std::size_t lag : {1U, 2U, 3U, 5U, 8U, 13U, 64U, 256U, 1000U}) {
                    std::vector<std::uint64_t> pairs(parts * parts);
                    for (std::size_t i = 0; i + lag < blocks; ++i) {
                        ++pairs[part(list[i]) * parts + part(list[i + lag])];
                    }
                    worst = std::max(worst, deviation_from_uniform(pairs));
                }
                std::vector<std::uint64_t> places(parts * parts);
                for (std::size_t i = 0; i < blocks; ++i) {
                    ++places[i * parts / blocks * parts + part(list[i])];
                }
                worst = std::max(worst, deviation_from_uniform(places));
            }
        }
    }
    BOOST_TEST_MESSAGE("worst deviation " << worst);
    BOOST_TEST(worst < 5);
}

BOOST_AUTO_TEST_CASE(without_a_map_blocks_are_independent) {
    job of = job_of(job_pattern::randwrite);
    of.norandommap = true;
    constexpr std::size_t blocks = 1000;
    access_sequence sequence{of, {.begin = 4096, .end = 4096 + blocks * 4096 + 512}, tests::seed()};
    std::vector<std::uint64_t> hits(blocks);
    requests previous;
    for (int pass = 0; pass < 100; ++pass) {
        const requests list = rest_of_pass(sequence);
        BOOST_REQUIRE(list.size() == blocks + 1); // as many bytes as the range has, also those behind the last block
        BOOST_REQUIRE(list != previous);
        for (const request& each : list) {
            BOOST_REQUIRE((each.offset % 4096 == 0 && each.offset >= 4096 && each.offset < 4096 + blocks * 4096));
            ++hits[each.offset / 4096 - 1];
        }
        previous = list;
        sequence.begin_pass();
    }
    BOOST_TEST(deviation_from_uniform(hits) < 5);
    BOOST_TEST(deviation_from_uniform(hits) > -5); // a map would be too even
}

BOOST_AUTO_TEST_CASE(block_sizes_have_their_shares) {
    const auto check = [](const requests& list, direction what, std::map<std::uint32_t, double> shares) {
        const requests some = only(what, list);
        std::map<std::uint32_t, double> found;
        for (const request& each : some) {
            BOOST_REQUIRE(shares.contains(each.length));
            ++found[each.length];
        }
        chi_square sum;
        for (const auto& [length, share] : shares) {
            sum.add(share * static_cast<double>(some.size()), found[length]);
        }
        BOOST_TEST(sum.deviation() < 5);
    };
    const access_range range{.begin = 0, .end = std::uint64_t{1} << 30};
    for (const job_pattern rw : {job_pattern::write, job_pattern::randwrite, job_pattern::rw, job_pattern::randrw}) {
        for (const bool map : {true, false}) {
            job of = job_of(rw);
            of.norandommap = !map;
            of.bs[0] = sizes({{.bytes = 4096, .percent = 50}, {.bytes = 8192, .percent = 50}});
            // 70 KiB are no multiple of 4 KiB, so fio makes them 68; and what has no share does not count
            of.bs[1] = sizes({{.bytes = 512, .percent = 0},
                              {.bytes = 71'680, .percent = 10},
                              {.bytes = 4096, .percent = 60},
                              {.bytes = 16'384, .percent = 30}});
            const requests list = pass_of(of, range, tests::seed());
            check(list, direction::write, {{4096, 0.6}, {16'384, 0.3}, {69'632, 0.1}});
            if (reads(rw)) {
                check(list, direction::read, {{4096, 0.5}, {8192, 0.5}});
            }
            BOOST_TEST(bytes_of(list) >= range.end); // the last one may go over
            BOOST_TEST(bytes_of(list) < range.end + 71'680);
        }
    }
    // sequential ones leave nothing out, and the end takes what has room
    job of = job_of(job_pattern::read);
    of.bs[0] = sizes({{.bytes = 1024, .percent = 1}, {.bytes = 65'536, .percent = 99}});
    const requests list = pass_of(of, {.begin = 512, .end = 512 + 1'000'448}, tests::seed());
    std::uint64_t next = 512;
    for (const request& each : list) {
        BOOST_REQUIRE(each.offset == next);
        next += each.length;
    }
    BOOST_TEST(next == 512 + 1'000'448);
}

BOOST_AUTO_TEST_CASE(smallest_blocks_of_directions_may_differ) {
    job of = job_of(job_pattern::randrw);
    of.bs[1] = sizes({{.bytes = 16'384, .percent = 100}});
    const requests list = pass_of(of, {.begin = 0, .end = 4096 * 40'000}, tests::seed());
    for (const direction what : {direction::read, direction::write}) {
        const std::uint32_t length = what == direction::read ? 4096 : 16'384;
        std::set<std::uint64_t> seen;
        for (const request& each : only(what, list)) {
            BOOST_REQUIRE(each.length == length);
            BOOST_REQUIRE(each.offset % length == 0);
            BOOST_REQUIRE(seen.insert(each.offset).second);
        }
        BOOST_TEST(seen.size() > 1000U);
    }
    BOOST_TEST(bytes_of(list) >= 4096U * 40'000);
}

BOOST_AUTO_TEST_CASE(blockalign_says_where_blocks_begin) {
    for (const std::uint32_t alignment : {512U, 4096U, 16'384U}) {
        job of = job_of(job_pattern::randread);
        of.blockalign.fill(alignment);
        constexpr std::uint64_t size = 4096 * 16;
        std::set<std::uint64_t> seen;
        bool any_twice = false;
        for (std::uint64_t seed = 0; seed < 200; ++seed) {
            std::set<std::uint64_t> once;
            for (const request& each : pass_of(of, {.begin = 1024, .end = 1024 + size}, seed)) {
                BOOST_REQUIRE((each.offset - 1024) % alignment == 0);
                BOOST_REQUIRE(each.offset + each.length <= 1024 + size);
                seen.insert(each.offset);
                any_twice = any_twice || !once.insert(each.offset).second;
            }
        }
        BOOST_TEST(seen.size() == (alignment <= 4096 ? (size - 4096) / alignment + 1 : size / alignment));
        BOOST_TEST(any_twice == (alignment != 4096)); // a map only where blocks lie side by side anyway, as in fio
    }
}

// What is written and verified must not be written over in the same pass.
BOOST_AUTO_TEST_CASE(verified_writes_do_not_overlap) {
    auto chances = chance(3);
    for (int run = 0; run < 300; ++run) {
        job of = job_of(run % 2 == 0 ? job_pattern::randwrite : job_pattern::randrw);
        of.verify = true;
        for (block_sizes& each : of.bs) {
            const std::uint32_t unit = 512U << pick(chances, 0, 4);
            each = sizes({{.bytes = unit, .percent = 40},
                          {.bytes = unit * pick(chances, 1U, 20U), .percent = 40},
                          {.bytes = unit * 8, .percent = 20}});
        }
        const std::uint64_t begin = 512 * pick<std::uint64_t>(chances, 0, 100);
        const access_range range{.begin = begin, .end = begin + 512 * pick<std::uint64_t>(chances, 5000, 20'000)};
        requests list = pass_of(of, range, chances());
        BOOST_REQUIRE(!list.empty());
        std::sort(list.begin(), list.end(), by_offset);
        for (std::size_t i = 1; i < list.size(); ++i) {
            BOOST_REQUIRE(list[i - 1].offset + list[i - 1].length <= list[i].offset);
        }
    }
}

BOOST_AUTO_TEST_CASE(often_touched_blocks_lie_anywhere_and_stay_there) {
    for (const auto shape : {random_distribution::shape::zipf, random_distribution::shape::pareto}) {
        job of = job_of(job_pattern::randrw);
        of.distribution = {.kind = shape,
                           .parameter = shape == random_distribution::shape::zipf ? 1'200'000U : 200'000U};
        constexpr std::size_t blocks = 50'000;
        const access_range range{.begin = 4096, .end = 4096 + blocks * 4096};
        const auto counts_of = [&](access_sequence& sequence) {
            std::vector<std::uint64_t> counts(blocks);
            for (const request& each : rest_of_pass(sequence)) {
                ++counts.at(each.offset / 4096 - 1);
            }
            return counts;
        };
        // which blocks: the same in the next pass, others with another seed
        access_sequence sequence{of, range, tests::seed()};
        const auto first = counts_of(sequence);
        sequence.begin_pass();
        const auto second = counts_of(sequence);
        access_sequence other_sequence{of, range, tests::seed() + 1};
        const auto other = counts_of(other_sequence);
        BOOST_TEST((first != second));
        const auto hottest = [](const std::vector<std::uint64_t>& counts) {
            std::vector<std::size_t> order(counts.size());
            std::iota(order.begin(), order.end(), std::size_t{0});
            std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return counts[a] > counts[b]; });
            order.resize(5);
            return order;
        };
        if (shape == random_distribution::shape::zipf) {
            BOOST_TEST(hottest(first)[0] == hottest(second)[0]);
            BOOST_TEST(hottest(first)[0] != hottest(other)[0]);
            double sum = 0;
            for (std::size_t k = 1; k <= blocks; ++k) {
                sum += std::pow(static_cast<double>(k), -1.2);
            }
            BOOST_TEST(deviation_of_share(first[hottest(first)[0]], blocks, 1 / sum) < 5);
        } else {
            // a fifth of the blocks has four fifths of the requests; the fifth with most has a bit more
            std::vector<std::uint64_t> sorted = first;
            std::sort(sorted.rbegin(), sorted.rend());
            const auto of_a_fifth = std::accumulate(sorted.begin(), sorted.begin() + blocks / 5, std::uint64_t{0});
            BOOST_TEST(static_cast<double>(of_a_fifth) / blocks > 0.79);
            BOOST_TEST(static_cast<double>(of_a_fifth) / blocks < 0.9);
        }
        // anywhere: the five hottest blocks of many seeds
        std::vector<std::uint64_t> places(10);
        for (std::uint64_t seed = 0; seed < 40; ++seed) {
            access_sequence some{of, range, tests::seed() + seed};
            for (const std::size_t block : hottest(counts_of(some))) {
                ++places[block * places.size() / blocks];
            }
        }
        BOOST_TEST(deviation_from_uniform(places) < 5);
    }
}

// Jobs of all kinds: every pass ends, stays in the range and repeats; there is no request where nothing has room.
BOOST_AUTO_TEST_CASE(all_jobs_stay_in_their_range_and_repeat) {
    auto chances = chance(4);
    for (int run = 0; run < 1000; ++run) {
        job of = job_of(all_patterns[pick<std::size_t>(chances, 0, std::size(all_patterns) - 1)]);
        for (block_sizes& each : of.bs) {
            if (pick(chances, 0, 1) == 0) {
                each = sizes({{.bytes = 512U * pick(chances, 1U, 16U), .percent = 100}});
            } else {
                each = sizes({{.bytes = 512U * pick(chances, 1U, 64U), .percent = 30},
                              {.bytes = 512U * pick(chances, 1U, 64U), .percent = 30},
                              {.bytes = 512U * pick(chances, 1U, 64U), .percent = 40}});
            }
        }
        if (pick(chances, 0, 3) == 0) {
            of.blockalign.fill(512U * pick(chances, 1U, 32U));
        }
        of.rwmixread = pick(chances, 0U, 100U);
        of.norandommap = pick(chances, 0, 3) == 0;
        of.verify = pick(chances, 0, 2) == 0;
        if (pick(chances, 0, 2) == 0) {
            of.distribution = {.kind = pick(chances, 0, 1) == 0 ? random_distribution::shape::zipf
                                                                : random_distribution::shape::pareto,
                               .parameter = pick(chances, 1U, 999'999U)};
        }
        const std::uint64_t begin = 512 * pick<std::uint64_t>(chances, 0, 1'000'000);
        const std::uint64_t size = 512 * (pick(chances, 0, 1) == 0 ? pick<std::uint64_t>(chances, 0, 40)
                                                                   : pick<std::uint64_t>(chances, 0, 5000));
        const access_range range{.begin = begin, .end = begin + size};
        const std::uint64_t seed = chances();
        BOOST_TEST_CONTEXT("run " << run << ", rw " << static_cast<int>(of.rw) << ", size " << size << ", seed "
                                  << seed) {
            access_sequence sequence{of, range, seed};
            for (int pass = 0; pass < 2; ++pass) {
                const requests list = rest_of_pass(sequence, 20'000);
                for (const request& each : list) {
                    BOOST_REQUIRE(each.length != 0);
                    BOOST_REQUIRE(each.length % 512 == 0);
                    BOOST_REQUIRE(each.offset >= range.begin);
                    BOOST_REQUIRE(each.offset + each.length <= range.end);
                    BOOST_REQUIRE((each.what != direction::read || reads(of.rw)));
                    BOOST_REQUIRE((each.what != direction::write || writes(of.rw)));
                    BOOST_REQUIRE((each.what != direction::trim || trims(of.rw)));
                }
                BOOST_REQUIRE(bytes_of(list) < (of.rw == job_pattern::trimwrite ? 2 : 1) * size + 65 * 512);
                if (size >= 65 * 512 * 2) {
                    BOOST_REQUIRE(!list.empty());
                }
                sequence.repeat_pass();
                BOOST_REQUIRE(rest_of_pass(sequence) == list);
                sequence.begin_pass();
            }
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
