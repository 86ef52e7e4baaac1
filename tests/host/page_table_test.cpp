// Tests of the page tables, by a walker of its own that reads them as the privileged architecture says that a hart does.
#include "arch/riscv64/page_table.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

namespace {

using namespace inflight::arch::riscv64;
using inflight::tests::chance;
using inflight::tests::pick;

constexpr std::uint64_t kilobyte_4 = 4096;
constexpr std::uint64_t megabyte_2 = std::uint64_t{2} << 20;
constexpr std::uint64_t gigabyte = std::uint64_t{1} << 30;

class pages {
  public:
    explicit pages(std::size_t max_count = 1u << 20) : max_count_{max_count} {}
    ~pages() {
        for (void* const each : all_) {
            std::free(each);
        }
    }
    pages(const pages&) = delete;
    pages& operator=(const pages&) = delete;

    static std::byte* allocate(void* context) noexcept {
        auto& self = *static_cast<pages*>(context);
        if (self.all_.size() == self.max_count_) {
            return nullptr;
        }
        void* const page = std::aligned_alloc(kilobyte_4, kilobyte_4);
        std::fill_n(static_cast<unsigned char*>(page), kilobyte_4, 0xa5); // nobody has cleared it
        self.all_.push_back(page);
        return static_cast<std::byte*>(page);
    }
    [[nodiscard]] std::size_t count() const { return all_.size(); }

  private:
    std::size_t max_count_;
    std::vector<void*> all_;
};

struct translation {
    char rights[4] = "---";  // as `ls` writes them
    std::uint64_t span = 0;  // of the page; of what one absent entry leaves out
    std::uint64_t address{}; // where it leads
};

// "Virtual Address Translation Process", 4.3.2 of the privileged architecture, version 1.12. Fails at what is reserved.
translation walk(std::uint64_t satp, std::uint64_t address) {
    const std::uint64_t mode = satp >> 60;
    BOOST_REQUIRE(mode == 8 || mode == 9);
    BOOST_REQUIRE_EQUAL(satp >> 44 & 0xffff, 0u); // the address space
    const int levels = mode == 8 ? 3 : 4;
    BOOST_REQUIRE_EQUAL(address >> (12 + 9 * levels - 1), 0u); // else it would have to be sign-extended
    std::uint64_t table = (satp & ((std::uint64_t{1} << 44) - 1)) << 12;
    for (int i = levels - 1; i >= 0; --i) {
        const std::uint64_t entry = reinterpret_cast<const std::uint64_t*>(table)[address >> (12 + 9 * i) & 511];
        const std::uint64_t span = std::uint64_t{1} << (12 + 9 * i);
        translation found;
        found.span = span;
        if ((entry & 1) == 0) {
            BOOST_REQUIRE_EQUAL(entry, 0u);
            return found;
        }
        BOOST_REQUIRE_EQUAL(entry >> 54, 0u); // reserved, and Svnapot's and Svpbmt's
        const std::uint64_t target = (entry >> 10) << 12;
        if ((entry & 0xe) == 0) {
            BOOST_REQUIRE_NE(i, 0);
            BOOST_REQUIRE_EQUAL(entry & 0xd0, 0u); // D, A and U are reserved in a pointer
            table = target;
            continue;
        }
        BOOST_REQUIRE_LE(i, 2);
        BOOST_REQUIRE_EQUAL(target % span, 0u); // or a misaligned superpage
        BOOST_REQUIRE_EQUAL(entry & 0x10, 0u);  // not U-mode's
        BOOST_REQUIRE_EQUAL(entry & 0xc0, 0xc0u);
        BOOST_REQUIRE((entry & 2) != 0); // writable without readable is reserved
        found.rights[0] = 'r';
        found.rights[1] = (entry & 4) != 0 ? 'w' : '-';
        found.rights[2] = (entry & 8) != 0 ? 'x' : '-';
        found.address = target + address % span;
        return found;
    }
    BOOST_FAIL("no leaf");
    return {};
}

const char* rights_of(permission allowed) {
    switch (allowed) {
    case permission::none: return "---";
    case permission::read: return "r--";
    case permission::read_write: return "rw-";
    case permission::read_execute: return "r-x";
    }
    return "";
}

void expect(const page_table& tables, std::uint64_t address, permission allowed) {
    const translation found = walk(tables.satp(), address);
    BOOST_REQUIRE_EQUAL(found.rights, rights_of(allowed));
    if (allowed != permission::none) {
        BOOST_REQUIRE_EQUAL(found.address, address);
    }
}

} // namespace

BOOST_AUTO_TEST_SUITE(page_tables)

BOOST_AUTO_TEST_CASE(the_largest_pages_that_fit) {
    pages memory;
    page_table tables{pages::allocate, &memory};
    BOOST_REQUIRE(tables.mode() == translation_mode::bare && tables.satp() == 0);
    // From 4 KiB below 1 GiB to 4 KiB above 2 GiB and 2 MiB.
    BOOST_REQUIRE(tables.set(gigabyte - kilobyte_4, 2 * gigabyte + megabyte_2 + kilobyte_4, permission::read_write));
    BOOST_TEST(walk(tables.satp(), gigabyte - kilobyte_4).span == kilobyte_4);
    BOOST_TEST(walk(tables.satp(), gigabyte).span == gigabyte);
    BOOST_TEST(walk(tables.satp(), 2 * gigabyte).span == megabyte_2);
    BOOST_TEST(walk(tables.satp(), 2 * gigabyte + megabyte_2).span == kilobyte_4);
    expect(tables, gigabyte - kilobyte_4 - 1, permission::none);
    expect(tables, 2 * gigabyte + megabyte_2 + kilobyte_4, permission::none);
    expect(tables, 0, permission::none);
    // Two roots, two tables for each edge.
    BOOST_TEST(memory.count() == 6u);
}

BOOST_AUTO_TEST_CASE(a_hole_cuts_only_the_pages_at_its_edges) {
    pages memory;
    page_table tables{pages::allocate, &memory};
    BOOST_REQUIRE(tables.set(0, 4 * gigabyte, permission::read_write));
    BOOST_REQUIRE(tables.set(gigabyte + 3 * kilobyte_4, gigabyte + 4 * kilobyte_4, permission::none));
    expect(tables, gigabyte + 3 * kilobyte_4 - 1, permission::read_write);
    expect(tables, gigabyte + 3 * kilobyte_4, permission::none);
    expect(tables, gigabyte + 4 * kilobyte_4 - 1, permission::none);
    expect(tables, gigabyte + 4 * kilobyte_4, permission::read_write);
    BOOST_TEST(walk(tables.satp(), gigabyte).span == kilobyte_4);
    BOOST_TEST(walk(tables.satp(), gigabyte + megabyte_2).span == megabyte_2);
    BOOST_TEST(walk(tables.satp(), 0).span == gigabyte);
    BOOST_TEST(walk(tables.satp(), 2 * gigabyte).span == gigabyte);
    BOOST_TEST(memory.count() == 4u);
}

BOOST_AUTO_TEST_CASE(holes_cost_nothing_where_nothing_is_mapped) {
    pages memory;
    page_table tables{pages::allocate, &memory};
    BOOST_REQUIRE(tables.set(0, kilobyte_4, permission::none));
    BOOST_REQUIRE(tables.set(page_table::sv48_reach - kilobyte_4, page_table::sv48_reach, permission::none));
    BOOST_TEST(memory.count() == 2u);
    BOOST_TEST((tables.mode() == translation_mode::bare));
}

BOOST_AUTO_TEST_CASE(sv48_only_where_it_is_needed) {
    pages memory;
    page_table tables{pages::allocate, &memory};
    BOOST_REQUIRE(tables.set(page_table::sv39_reach - kilobyte_4, page_table::sv39_reach, permission::read_execute));
    BOOST_TEST((tables.mode() == translation_mode::sv39));
    expect(tables, page_table::sv39_reach - 1, permission::read_execute);
    BOOST_REQUIRE(tables.set(page_table::sv39_reach, page_table::sv39_reach + kilobyte_4, permission::read));
    BOOST_TEST((tables.mode() == translation_mode::sv48));
    expect(tables, page_table::sv39_reach - 1, permission::read_execute);
    expect(tables, page_table::sv39_reach, permission::read);
    // 512 GiB at once, and the last page.
    BOOST_REQUIRE(tables.set(512 * gigabyte, 1024 * gigabyte, permission::read_write));
    expect(tables, 512 * gigabyte - 1, permission::none);
    expect(tables, 512 * gigabyte, permission::read_write);
    expect(tables, 1024 * gigabyte - 1, permission::read_write);
    expect(tables, 1024 * gigabyte, permission::none);
    BOOST_REQUIRE(tables.set(page_table::sv48_reach - kilobyte_4, page_table::sv48_reach, permission::read));
    expect(tables, page_table::sv48_reach - 1, permission::read);
}

BOOST_AUTO_TEST_CASE(memory_that_does_not_suffice_is_told) {
    for (std::size_t most = 0; most <= 4; ++most) {
        pages memory{most};
        page_table tables{pages::allocate, &memory};
        BOOST_TEST(tables.set(0, kilobyte_4, permission::read) == (most == 4));
        BOOST_TEST(memory.count() == most);
    }
}

// Against a map of pages: ranges anywhere in some GiB on either side of what Sv39 reaches, with edges that meet and overlap.
BOOST_AUTO_TEST_CASE(random_ranges) {
    auto random = chance(7);
    for (int round = 0; round < 40; ++round) {
        const std::uint64_t base = pick<std::uint64_t>(random, 0, 1) == 0 ? 0 : page_table::sv39_reach - 2 * gigabyte;
        pages memory;
        page_table tables{pages::allocate, &memory};
        std::map<std::uint64_t, permission> from{{0, permission::none}}; // what is right from there on
        const auto at = [&](std::uint64_t address) {
            return std::prev(from.upper_bound(address))->second;
        };
        for (int step = 0; step < 60; ++step) {
            constexpr std::uint64_t units[] = {kilobyte_4, megabyte_2, gigabyte};
            const auto edge = [&] {
                const std::uint64_t unit = units[pick(random, 0, 2)];
                const std::uint64_t coarse = pick<std::uint64_t>(random, 0, 4 * gigabyte / unit) * unit;
                const std::uint64_t fine = pick<std::uint64_t>(random, 0, 3) * kilobyte_4;
                return base + std::min(coarse + fine, 4 * gigabyte);
            };
            const auto [begin, end] = std::minmax({edge(), edge()});
            const auto allowed = static_cast<permission>(pick(random, 0, 3));
            BOOST_REQUIRE(tables.set(begin, end, allowed));
            if (begin < end) {
                const permission behind = at(end);
                from.erase(from.lower_bound(begin), from.lower_bound(end));
                from[begin] = allowed;
                from.try_emplace(end, behind);
            }
            if (tables.mode() == translation_mode::bare) {
                continue;
            }
            for (const auto& [edge_at, right] : from) {
                const std::uint64_t reach =
                    tables.mode() == translation_mode::sv39 ? page_table::sv39_reach : page_table::sv48_reach;
                if (edge_at < reach) {
                    expect(tables, edge_at, right);
                }
                if (edge_at != 0 && edge_at <= reach) {
                    expect(tables, edge_at - 1, at(edge_at - 1));
                }
            }
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
