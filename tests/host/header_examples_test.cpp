// The examples at the heads of the headers of async/, compiled as they stand there (see header_examples.py) and run.
#include "async/sync_wait.hpp"

#include <boost/test/unit_test.hpp>
#include <span>
#include <vector>

namespace inflight::async {
namespace {

struct header_example {
    const char* header;
    bool (*run)();
};

bool truth_of(bool example) {
    return example;
}
bool truth_of(task<bool> example) {
    return sync_wait(std::move(example));
}

} // namespace
} // namespace inflight::async

#include "header_examples.inc"

BOOST_AUTO_TEST_SUITE(header_examples)

BOOST_AUTO_TEST_CASE(each_shows_what_is_so) {
    using namespace inflight;
    for (const async::header_example& each : async::header_examples) {
        arch::host::machine host{{.harts = 1, .memory_bytes = 4096, .seed = 1}};
        std::vector<std::byte> frames(1 << 16);
        const async::executor executor{frames};
        BOOST_TEST(each.run(), each.header);
    }
}

BOOST_AUTO_TEST_SUITE_END()
