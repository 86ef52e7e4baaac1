// Makes and checks the data of a job with verify=crc32c.
#pragma once

#include "bench/fio/job.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace inflight::bench {

class verification {
  public:
    // `seed`, `clone` (which of numjobs) and the job's options determine the data.
    verification(const job& of, std::uint64_t seed, std::uint32_t clone) noexcept;

    [[nodiscard]] bool writes_headers() const noexcept { return writes_headers_; }
    [[nodiscard]] bool checks_reads() const noexcept { return checks_reads_; } // that other jobs wrote

    // Fills `data` with blocks and their headers, as written at `offset` (bytes) in this pass.
    void write_headers(std::span<std::byte> data, std::uint64_t offset, std::uint64_t pass) noexcept;

    // Returns whether `data` was written at `offset`: by this job in `pass`, or, without `pass`, by any job. If not,
    // prints the fault of the first wrong block.
    [[nodiscard]] bool check(std::span<const std::byte> data, std::uint64_t offset, std::optional<std::uint64_t> pass,
                             const char* disk) const noexcept;

  private:
    [[nodiscard]] std::uint64_t seed_of(std::uint64_t offset, std::uint64_t pass) const noexcept;
    [[nodiscard]] std::size_t step_of(std::size_t length) const noexcept;

    std::uint64_t seed_;
    std::uint32_t clone_;
    bool writes_headers_;
    bool checks_reads_;
    bool passes_differ_;        // a pass writes every block, so its data may differ from the pass before
    std::uint32_t interval_;    // bytes for one header; 0: the whole request
    std::uint16_t written_ = 0; // the number of the last write, in the headers
};

} // namespace inflight::bench
