// The registers of a PLIC (RISC-V PLIC specification 1.0) before the lines of the simulated machine, whose level-sensitive
// gateways do the rest: a line that is high when it is completed is pending again.
#pragma once

#include "arch/arch.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <vector>

namespace inflight::model {

class plic_model final : public arch::host::mmio_device {
  public:
    static constexpr std::uintptr_t base = 0xc00'0000;
    static constexpr std::size_t size = 0x400'0000;

    // Context 2 * hart + 1 is S-mode of the hart. Lines up to `last_line`.
    plic_model(arch::host::machine& of, std::uint32_t last_line) : machine_{of}, last_line_{last_line} {
        machine_.attach(base, size, *this);
    }
    ~plic_model() override { machine_.detach(*this); }
    plic_model(const plic_model&) = delete;
    plic_model& operator=(const plic_model&) = delete;

    static std::uint32_t context_of(arch::hart_index hart) { return 2 * hart + 1; }

    std::uint64_t claims(std::uint32_t line) const { return claims_.contains(line) ? claims_.at(line) : 0; }
    bool enabled(std::uint32_t line, arch::hart_index hart) const {
        return enabled_.contains({line, context_of(hart)});
    }
    bool masked(std::uint32_t line) const { return !priorities_.contains(line) || priorities_.at(line) == 0; }

    std::uint32_t read(std::uint64_t offset, unsigned width) override {
        require(width == 4, "an access that is not of 32 bits");
        if (offset < 0x1000) {
            return priorities_[static_cast<std::uint32_t>(offset / 4)];
        }
        if (offset >= 0x2000 && offset < 0x20'0000) {
            const auto [context, first] = enables_at(offset);
            std::uint32_t bits = 0;
            for (std::uint32_t bit = 0; bit < 32; ++bit) {
                bits |= enabled_.contains({first + bit, context}) ? 1u << bit : 0;
            }
            return bits;
        }
        if (offset >= 0x20'0000 && offset % 0x1000 == 4) {
            require((offset - 0x20'0000) / 0x1000 == context_of(machine_.selected_hart()), "a claim of another hart");
            const unsigned line = machine_.claim();
            if (line == arch::host::machine::no_line) {
                return 0;
            }
            ++claims_[line];
            return line;
        }
        machine_.report("PLIC", "a register is read that is not there");
        return 0;
    }

    void write(std::uint64_t offset, unsigned width, std::uint32_t value) override {
        require(width == 4, "an access that is not of 32 bits");
        if (offset < 0x1000) {
            const auto line = static_cast<std::uint32_t>(offset / 4);
            require(line != 0 && line <= last_line_, "the priority of a line that is not there");
            priorities_[line] = value;
            update(line);
        } else if (offset >= 0x2000 && offset < 0x20'0000) {
            const auto [context, first] = enables_at(offset);
            for (std::uint32_t bit = 0; bit < 32; ++bit) {
                const std::uint32_t line = first + bit;
                const bool wanted = (value >> bit & 1) != 0;
                require(!wanted || (line != 0 && line <= last_line_), "a line is enabled that is not there");
                if (wanted != enabled_.contains({line, context})) {
                    wanted ? void(enabled_.insert({line, context})) : void(enabled_.erase({line, context}));
                    update(line);
                }
            }
        } else if (offset >= 0x20'0000 && offset % 0x1000 == 4) {
            require(value != 0 && value <= last_line_, "a line is completed that is not there");
            machine_.complete(value);
        } else {
            require(offset >= 0x20'0000 && offset % 0x1000 == 0 && value == 0,
                    "a register that is not there, or not 0");
        }
    }

  private:
    struct place {
        std::uint32_t context;
        std::uint32_t first; // of 32 lines
    };
    static place enables_at(std::uint64_t offset) {
        return {static_cast<std::uint32_t>((offset - 0x2000) / 0x80),
                static_cast<std::uint32_t>((offset - 0x2000) % 0x80 * 8)};
    }

    void require(bool condition, const char* what) {
        if (!condition) {
            machine_.report("PLIC", what);
        }
    }

    void update(std::uint32_t line) {
        std::vector<arch::hart_index> harts;
        for (arch::hart_index hart = 0; hart < machine_.harts(); ++hart) {
            if (enabled(line, hart)) {
                harts.push_back(hart);
            }
        }
        machine_.share_line(line, harts);
        machine_.enable_line(line, !harts.empty() && !masked(line));
    }

    arch::host::machine& machine_;
    std::uint32_t last_line_;
    std::map<std::uint32_t, std::uint32_t> priorities_;
    std::map<std::uint32_t, std::uint64_t> claims_;
    std::set<std::pair<std::uint32_t, std::uint32_t>> enabled_; // line and context
};

} // namespace inflight::model
