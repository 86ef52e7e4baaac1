// Page tables that map memory to itself (RISC-V Privileged Architecture, "Sv39" and "Sv48").
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace inflight::arch::riscv64 {

inline constexpr std::uint64_t page_bytes = 4096;

// What S-mode may do with a page; never both write and execute.
enum class permission : std::uint8_t { none, read, read_write, read_execute };

// Values of the field MODE of satp.
enum class translation_mode : std::uint8_t { bare = 0, sv39 = 8, sv48 = 9 };

// The tables of one address space, in memory that its owner allocates; tables are never freed. This class does not
// change the state of the hart.
class page_table {
  public:
    // Returns page_bytes of memory, aligned to page_bytes; nullptr if none is left.
    using allocator = std::byte* (*)(void* context) noexcept;

    // Only addresses below this can be mapped: the half of Sv48 without sign extension.
    static constexpr std::uint64_t sv48_reach = std::uint64_t{1} << 47;
    static constexpr std::uint64_t sv39_reach = std::uint64_t{1} << 38;

    page_table(allocator allocate, void* context) noexcept : allocate_{allocate}, context_{context} {}

    // Maps [begin, end) with this permission, and overrides earlier calls. Both are multiples of page_bytes, at most
    // sv48_reach. Uses the largest pages that fit: 1 GiB, 2 MiB, 4 KiB. Returns false if no memory is left for a table:
    // then a part of the range is unchanged.
    [[nodiscard]] bool set(std::uint64_t begin, std::uint64_t end, permission allowed) noexcept;

    // The smallest mode that reaches everything that was mapped; bare if nothing was.
    [[nodiscard]] translation_mode mode() const noexcept { return mode_; }

    // The value of the register satp for mode(), with address space 0.
    [[nodiscard]] std::uint64_t satp() const noexcept;

  private:
    static constexpr std::size_t entries = 512;
    using table = std::array<std::uint64_t, entries>;

    [[nodiscard]] table* create_table() noexcept;
    [[nodiscard]] table* child(std::uint64_t& entry, std::uint64_t address, unsigned level) noexcept;
    [[nodiscard]] bool set(table& within, unsigned level, std::uint64_t begin, std::uint64_t end,
                           std::uint64_t bits) noexcept;

    allocator allocate_;
    void* context_;
    table* root_ = nullptr; // of Sv48; its first entry is the root of Sv39
    translation_mode mode_ = translation_mode::bare;
};

} // namespace inflight::arch::riscv64
