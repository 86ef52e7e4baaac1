// The protocols that harts share: right as they are, and found wrong with any mistake in them, and with any of their
// orders of memory made weaker.
#include "protocols.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <cstring>

namespace inflight::interleavings {

namespace {

result run(const protocol& of, mistake made, const weakening* weakened = nullptr) {
    limits bounds = of.bounds;
    bounds.weakened = weakened;
    return explore(bounds, [&] { return of.make(made); });
}

void print(const char* protocol, const std::string& what, const result& found) {
    std::printf("%-31s %-52s %8llu executions %8llu states  %s\n", protocol, what.c_str(),
                static_cast<unsigned long long>(found.executions), static_cast<unsigned long long>(found.states),
                found.failure.empty() ? "no failure" : found.failure.c_str());
    std::fflush(stdout);
}

const char* text(std::memory_order order) {
    switch (order) {
    case std::memory_order_relaxed: return "relaxed";
    case std::memory_order_acquire: return "acquire";
    case std::memory_order_release: return "release";
    case std::memory_order_acq_rel: return "acq_rel";
    default: return "full";
    }
}

const char* file_name(const char* path) {
    const char* const slash = std::strrchr(path, '/');
    return slash != nullptr ? slash + 1 : path;
}

std::vector<std::memory_order> weaker(std::memory_order order) {
    if (order == std::memory_order_seq_cst) { // a full fence
        return {std::memory_order_relaxed, std::memory_order_acquire, std::memory_order_release,
                std::memory_order_acq_rel};
    }
    if (order == std::memory_order_acq_rel) {
        return {std::memory_order_acquire, std::memory_order_release};
    }
    return {std::memory_order_relaxed};
}

} // namespace

BOOST_AUTO_TEST_SUITE(protocol_tests)

BOOST_AUTO_TEST_CASE(right_as_they_are) {
    for (const protocol& each : protocols()) {
        const result found = run(each, mistake::none);
        print(each.name, "as it is", found);
        BOOST_TEST(found.failure == "", found.failure << '\n' << found.schedule);
        for (const protocol::mutant& other : each.right) {
            const result as_well = run(each, other.what);
            print(each.name, other.text, as_well);
            BOOST_TEST(as_well.failure == "", as_well.failure << '\n' << as_well.schedule);
        }
    }
}

BOOST_AUTO_TEST_CASE(every_mistake_is_found) {
    unsigned caught = 0;
    unsigned mutants = 0;
    for (const protocol& each : protocols()) {
        for (const protocol::mutant& wrong : each.wrong) {
            const result found = run(each, wrong.what);
            print(each.name, wrong.text, found);
            ++mutants;
            caught += found.failure.empty() ? 0 : 1;
            BOOST_TEST(found.failure != "", each.name << ": not found: " << wrong.text);
        }
    }
    std::printf("mistakes: %u of %u found\n", caught, mutants);
}

// An order whose weakening no protocol minds is stronger than it need be.
BOOST_AUTO_TEST_CASE(every_order_is_needed) {
    std::vector<order_site> sites;
    std::vector<std::vector<order_site>> sites_of;
    for (const protocol& each : protocols()) {
        limits few = each.bounds;
        few.preemptions = 1; // enough to come past every operation
        sites_of.push_back(explore(few, [&] { return each.make(mistake::none); }).sites);
        for (const order_site& site : sites_of.back()) {
            if (std::find(sites.begin(), sites.end(), site) == sites.end()) {
                sites.push_back(site);
            }
        }
    }
    unsigned caught = 0;
    unsigned mutants = 0;
    for (const order_site& site : sites) {
        for (const std::memory_order instead : weaker(site.order)) {
            const weakening weakened{site, instead};
            const std::string what = std::string{file_name(site.at.file)} + ":" + std::to_string(site.at.line) + " " +
                                     text(site.order) + " -> " + text(instead);
            ++mutants;
            bool found_by_any = false;
            for (std::size_t i = 0; i < sites_of.size(); ++i) {
                if (std::find(sites_of[i].begin(), sites_of[i].end(), site) == sites_of[i].end()) {
                    continue;
                }
                const protocol& each = protocols()[i];
                const result found = run(each, mistake::none, &weakened);
                print(each.name, what, found);
                if (!found.failure.empty()) {
                    found_by_any = true;
                    break;
                }
            }
            caught += found_by_any ? 1 : 0;
            BOOST_TEST(found_by_any, "no protocol minds " << what);
        }
    }
    std::printf("orders of memory: %u of %u weakenings found\n", caught, mutants);
    BOOST_TEST(mutants >= 6u);
}

// What a failure looks like.
BOOST_AUTO_TEST_CASE(a_failing_schedule_is_readable) {
    const result found = run(protocols().front(), mistake::no_mask);
    std::printf("%s: no mask: %s\n%s", protocols().front().name, found.failure.c_str(), found.schedule.c_str());
    BOOST_TEST(found.failure.starts_with("lost wake-up: hart 0"));
    BOOST_TEST(found.schedule.find("hart 0: takes the software interrupt") != std::string::npos);
    BOOST_TEST(found.schedule.find("hart 0: waits for an interrupt   at protocols.cpp:") != std::string::npos);
    BOOST_TEST(found.schedule.find("compare_exchange, done word 0, release: asleep -> message") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace inflight::interleavings
