// The examples of README.md and docs/embedding.md, compiled as they stand there and run against the device model.

#include "async/counting_scope.hpp"
#include "async/schedule_on.hpp"
#include "async/sync_wait.hpp"
#include "async/with_timeout.hpp"
#include "drivers/block/disk.hpp"
#include "drivers/virtio/mmio.hpp"
#include "readme_example.inc"
#include "tests/model/virtio_blk_model.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <functional>
#include <vector>

namespace inflight {
using interrupt_router = std::function<void(block::disk&)>; // the example's own kernel has one
} // namespace inflight

// After what it uses.
#include "embedding_example.inc"

namespace {

using namespace inflight;

class arena final : public dma_memory {
  public:
    explicit arena(arch::host::machine& of) : machine_{of} {}
    std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
        return machine_.allocate(bytes, alignment);
    }

  private:
    arch::host::machine& machine_;
};

} // namespace

BOOST_AUTO_TEST_SUITE(readme)

BOOST_AUTO_TEST_CASE(the_example_copies_blocks) {
    arch::host::machine host{{.harts = 1, .memory_bytes = std::size_t{16} << 20, .seed = 1}};
    model::blk_configuration configuration;
    model::virtio_blk_model device{host, configuration};
    std::vector<std::byte> frames(1 << 20);
    async::executor executor{frames};
    BOOST_REQUIRE(virtio::identify_mmio(configuration.base).id == virtio::device_id::block);
    virtio::mmio_transport transport{configuration.base};
    block::disk disk{transport};
    host.line_handler(configuration.line, [&] { disk.handle_line(); });
    arena memory{host};
    BOOST_REQUIRE(disk.start(memory, {}) == virtio::error::none);

    constexpr std::size_t copied = std::size_t{64} * 4096;
    constexpr std::size_t target = std::size_t{4096} * 512;
    for (std::size_t i = 0; i < copied; ++i) {
        device.disk()[i] = static_cast<std::byte>(i * 7 + i / 4096);
    }
    const std::span<std::byte> buffers{host.allocate(copied, 4096), copied};
    BOOST_TEST(async::sync_wait(copy_many(disk, buffers)));
    BOOST_TEST(std::equal(device.disk().begin(), device.disk().begin() + copied, device.disk().begin() + target));
    BOOST_TEST(async::sync_wait(copy_elsewhere(disk, 0, buffers.first(4096))));
    BOOST_TEST(device.idle());
    BOOST_TEST(host.violations().empty(), host.describe());
}

BOOST_AUTO_TEST_CASE(the_example_of_embedding_reads_a_block) {
    arch::host::machine host{{.harts = 1, .memory_bytes = std::size_t{16} << 20, .seed = 1}};
    model::blk_configuration configuration;
    model::virtio_blk_model device{host, configuration};
    std::vector<std::byte> frames(1 << 20);
    arena memory{host};
    const std::span<std::byte> buffer{host.allocate(4096, 4096), 4096};
    for (std::size_t i = 0; i < buffer.size(); ++i) {
        device.disk()[i] = static_cast<std::byte>(i * 7);
    }
    const auto route = [&](block::disk& disk) {
        host.line_handler(configuration.line, [&disk] { disk.handle_line(); });
    };
    BOOST_TEST(read_first_block(configuration.base, memory, frames, buffer, route));
    host.line_handler(configuration.line, [] {}); // the disk of the example is gone
    BOOST_TEST(std::equal(buffer.begin(), buffer.end(), device.disk().begin()));
    BOOST_TEST(!read_first_block(0, memory, frames, buffer, route)); // no device
}

BOOST_AUTO_TEST_SUITE_END()
