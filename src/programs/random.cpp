// random: prints bytes of the first source of entropy, in hexadecimal digits, 32 bytes a line.

#include "src/kernel/console.hpp"
#include "src/kernel/program.hpp"

#include <algorithm>
#include <array>

namespace inflight::kernel {

namespace {

using console::print;

constexpr std::uint32_t default_bytes = 256;
constexpr std::size_t bytes_per_line = 32;

void print_line(std::span<const std::byte> bytes) noexcept {
    constexpr char digits[] = "0123456789abcdef";
    std::array<char, 2 * bytes_per_line + 1> line{};
    std::size_t length = 0;
    for (const std::byte each : bytes) {
        line[length++] = digits[std::to_integer<unsigned>(each >> 4)];
        line[length++] = digits[std::to_integer<unsigned>(each & std::byte{15})];
    }
    print("%s\n", line.data());
}

async::task<bool> run_random(const environment& here) {
    const auto device = std::find_if(here.devices.begin(), here.devices.end(),
                                     [](const virtio_device& each) { return each.rng != nullptr; });
    if (device == here.devices.end()) {
        print("error: random: there is no usable source of entropy: attach one (QEMU: -device virtio-rng-device)\n");
        co_return false;
    }
    const std::uint32_t bytes = here.wanted.bytes != 0 ? here.wanted.bytes : default_bytes;
    std::array<std::byte, bytes_per_line> buffer;
    for (std::uint32_t left = bytes; left != 0;) {
        const std::span<std::byte> line = std::span{buffer}.first(std::min<std::size_t>(left, buffer.size()));
        const virtio::error outcome = co_await device->rng->fill(line);
        if (outcome != virtio::error::none) {
            print("error: random: %s gives no more bytes: %s\n", device->name, virtio::to_string(outcome));
            co_return false;
        }
        print_line(line);
        left -= static_cast<std::uint32_t>(line.size());
    }
    print("@result {\"program\":\"random\",\"name\":\"%s\",\"bytes\":%u}\n", device->name, bytes);
    co_return true;
}

const program registered{"random", "bytes of the first source of entropy", run_random};

} // namespace

} // namespace inflight::kernel
