#include "bench/fio/verification.hpp"

#include "arch/arch.hpp"
#include "bench/fio/verify_block.hpp"
#include "src/kernel/console.hpp"
#include "src/support/random.hpp"

#include <algorithm>
#include <array>

namespace inflight::bench {

verification::verification(const job& of, std::uint64_t seed, std::uint32_t clone) noexcept
    : seed_{seed},
      clone_{clone},
      writes_headers_{of.verify && writes(of.rw)},
      checks_reads_{of.verify && !writes(of.rw)},
      passes_differ_{!of.norandommap && of.distribution.kind == random_distribution::shape::random},
      interval_{
          verify_interval(of.bs[static_cast<std::size_t>(writes_headers_ ? direction::write : direction::read)])} {}

// The offset determines the data. If each pass writes every block once, the pass does too.
std::uint64_t verification::seed_of(std::uint64_t offset, std::uint64_t pass) const noexcept {
    const std::uint64_t of_pass = passes_differ_ ? pass << 48 : 0;
    return support::mix(seed_ + support::golden_gamma * (offset + 1) + of_pass) | 1;
}

// A request is one block with a header, or several.
std::size_t verification::step_of(std::size_t length) const noexcept {
    return interval_ != 0 ? std::min<std::size_t>(interval_, length) : length;
}

void verification::write_headers(std::span<std::byte> data, std::uint64_t offset, std::uint64_t pass) noexcept {
    const auto second = static_cast<std::uint32_t>(arch::now() / arch::ticks_per_second());
    const std::uint16_t number =
        passes_differ_ ? ++written_ : std::uint16_t{0}; // else every write of a block has to be the same
    const std::size_t step = step_of(data.size());
    for (std::size_t at = 0; at + step <= data.size(); at += step) {
        fill_verify_block(data.subspan(at, step), {.seed = seed_of(offset + at, pass),
                                                   .offset = offset + at,
                                                   .seconds = passes_differ_ ? second : 0,
                                                   .job = static_cast<std::uint16_t>(clone_ + 1),
                                                   .number = number});
    }
}

bool verification::check(std::span<const std::byte> data, std::uint64_t offset, std::optional<std::uint64_t> pass,
                         const char* disk) const noexcept {
    const std::size_t step = step_of(data.size());
    for (std::size_t at = 0; at + step <= data.size(); at += step) {
        const std::span<const std::byte> block = data.subspan(at, step);
        // Without a pass, the seed is unknown, because another job may have written the block.
        const auto seed = pass ? std::optional{seed_of(offset + at, *pass)} : std::nullopt;
        const verify_result found = check_verify_block(block, offset + at, seed);
        if (!found) {
            static std::array<char, 2048> text;
            describe_verify_fault(text, disk, block, offset + at, seed, found);
            kernel::console::write(text.data());
            return false;
        }
    }
    return true;
}

} // namespace inflight::bench
