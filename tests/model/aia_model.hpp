// An APLIC and the interrupt files of an IMSIC (RISC-V AIA 1.0), before the harts of the simulated machine.
//
// Strict: a register that does not exist, a write that the specification ignores, and an access of another width than 32
// bits are reported. One IMSIC is alive at a time on a thread.
#pragma once

#include "arch/arch.hpp"
#include "arch/riscv64/imsic.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace inflight::model {

// The way from a controller to a hart: a line of the simulated machine for each hart, beside those of devices.
class hart_lines {
  public:
    explicit hart_lines(arch::host::machine& of) : machine_{of} {
        for (arch::hart_index hart = 0; hart < machine_.harts(); ++hart) {
            machine_.route_line(first + hart, hart);
            machine_.enable_line(first + hart, true);
        }
    }
    void set(arch::hart_index hart, bool high) {
        high ? machine_.raise_line(first + hart) : machine_.lower_line(first + hart);
    }

  private:
    static constexpr unsigned first = 2000;
    arch::host::machine& machine_;
};

class imsic_model {
  public:
    static constexpr std::uint64_t base = 0x2800'0000;
    static constexpr std::uint64_t stride = 0x1000;

    imsic_model(arch::host::machine& of, std::uint32_t ids) : machine_{of}, ids_{ids}, files_(of.harts()), lines_{of} {
        current_ = this;
    }
    ~imsic_model() { current_ = nullptr; }
    imsic_model(const imsic_model&) = delete;
    imsic_model& operator=(const imsic_model&) = delete;
    static imsic_model& current() { return *current_; }

    static std::uint64_t file_of(arch::hart_index hart) { return base + stride * hart; }

    // A store to the file, by a device or a hart.
    void send(std::uint64_t address, std::uint32_t id) {
        const std::uint64_t hart = (address - base) / stride;
        if (address % stride != 0 || hart >= files_.size()) {
            machine_.report("IMSIC", "a message to nowhere");
        } else if (id != 0 && id <= ids_) {
            files_[hart].pending.insert(id);
            update(static_cast<arch::hart_index>(hart));
        }
    }

    bool enabled(arch::hart_index hart, std::uint32_t id) const { return files_[hart].enabled.contains(id); }
    bool pending(arch::hart_index hart, std::uint32_t id) const { return files_[hart].pending.contains(id); }
    void make_pending(arch::hart_index hart, std::uint32_t id) { files_[hart].pending.insert(id); } // by the firmware
    std::uint32_t threshold(arch::hart_index hart) const { return files_[hart].threshold; }

    // The registers of the selected hart.
    void write(std::uint64_t which, std::uint64_t value) {
        file& own = files_[machine_.selected_hart()];
        if (which == 0x70) {
            own.delivers = value == 1;
        } else if (which == 0x72) {
            own.threshold = static_cast<std::uint32_t>(value);
        } else if (auto* const bits = array(own, which)) {
            for (std::uint32_t bit = 0; bit < 64; ++bit) {
                const std::uint32_t id = static_cast<std::uint32_t>(which % 0x40 * 32 + bit);
                (value >> bit & 1) != 0 && id != 0 ? void(bits->insert(id)) : void(bits->erase(id));
            }
        }
        update(machine_.selected_hart());
    }
    void clear(std::uint64_t which, std::uint64_t value) {
        file& own = files_[machine_.selected_hart()];
        if (auto* const bits = array(own, which)) {
            for (std::uint32_t bit = 0; bit < 64; ++bit) {
                if ((value >> bit & 1) != 0) {
                    bits->erase(static_cast<std::uint32_t>(which % 0x40 * 32 + bit));
                }
            }
        }
        update(machine_.selected_hart());
    }
    std::uint64_t claim() {
        file& own = files_[machine_.selected_hart()];
        const std::uint32_t id = top(own);
        own.pending.erase(id);
        update(machine_.selected_hart());
        if (lost_during_claim != 0) { // it arrives, and its interrupt is taken down with that of the claimed one
            own.pending.insert(std::exchange(lost_during_claim, 0));
            lines_.set(machine_.selected_hart(), false);
        }
        return std::uint64_t{id} << 16 | id;
    }
    bool has_pending() const { return top(files_[machine_.selected_hart()]) != 0; }
    std::uint32_t lost_during_claim = 0; // of the next claim, as QEMU before 9.1 may do it; 0: none
    std::uint64_t software_register = 0; // of the last hart that opened
    std::vector<arch::hart_index> software_handled;

  private:
    struct file {
        bool delivers = false;
        std::uint32_t threshold = 1;
        std::set<std::uint32_t> pending;
        std::set<std::uint32_t> enabled;
    };

    std::set<std::uint32_t>* array(file& of, std::uint64_t which) {
        if (which % 2 != 0 || which < 0x80 || which >= 0x100 || which % 0x40 * 32 > ids_) {
            machine_.report("IMSIC", "register " + std::to_string(which) + " does not exist: an illegal instruction");
            return nullptr;
        }
        return which < 0xc0 ? &of.pending : &of.enabled;
    }
    static std::uint32_t top(const file& of) {
        for (const std::uint32_t id : of.pending) {
            if (of.enabled.contains(id)) {
                return of.threshold == 0 || id < of.threshold ? id : 0;
            }
        }
        return 0;
    }
    void update(arch::hart_index hart) { lines_.set(hart, files_[hart].delivers && top(files_[hart]) != 0); }

    static inline thread_local imsic_model* current_ = nullptr;
    arch::host::machine& machine_;
    std::uint32_t ids_;
    std::vector<file> files_;
    hart_lines lines_;
};

// One domain of supervisor mode. All sources are wires, level-sensitive.
class aplic_model final : public arch::host::mmio_device {
  public:
    static constexpr std::uintptr_t base = 0xd00'0000;
    static constexpr std::size_t size = 0x8000;

    // With an IMSIC in MSI mode, else in direct mode.
    aplic_model(arch::host::machine& of, std::uint32_t sources, imsic_model* imsic = nullptr)
        : machine_{of}, imsic_{imsic}, sources_(sources + 1), harts_(of.harts()) {
        if (imsic_ == nullptr) {
            lines_.emplace(of);
        }
        machine_.attach(base, size, *this);
    }
    ~aplic_model() override { machine_.detach(*this); }
    aplic_model(const aplic_model&) = delete;
    aplic_model& operator=(const aplic_model&) = delete;

    void set_wire(std::uint32_t source, bool high) {
        const bool rises = high && !sources_[source].high;
        sources_[source].high = high;
        if (rises) {
            make_pending(source);
        } else if (!high && imsic_ != nullptr) {
            sources_[source].pending = false;
        }
        update();
    }
    void enable_by_firmware(std::uint32_t source) { sources_[source].enabled = true; }

    bool enabled(std::uint32_t source) const { return sources_[source].enabled; }
    std::uint32_t target(std::uint32_t source) const { return sources_[source].target; }
    unsigned made_pending() const { return made_pending_; }

    bool other_mode = false;       // the machine is not wired as the tree says
    bool as_qemu_before_9 = false; // in MSI mode, a source whose wire is low sends a message when it is made pending

    std::uint32_t read(std::uint64_t offset, unsigned width) override {
        require(width == 4, "an access that is not of 32 bits");
        if (offset == 0) {
            return 0x8000'0000 | domain_;
        }
        if (offset >= 0x1d00 && offset < 0x1d80) {
            std::uint32_t inputs = 0;
            for (std::uint32_t bit = 0; bit < 32; ++bit) {
                const auto source = static_cast<std::uint32_t>((offset - 0x1d00) * 8 + bit);
                inputs |= source < sources_.size() && sources_[source].high ? 1U << bit : 0;
            }
            return inputs;
        }
        const std::uint64_t hart = (offset - 0x4000) / 32;
        if (offset >= 0x4000 && hart < harts_.size() && imsic_ == nullptr) {
            const std::uint32_t source = top(static_cast<arch::hart_index>(hart));
            if (offset % 32 == 0x18) {
                return source << 16 | 1;
            }
            if (offset % 32 == 0x1c) {
                // As QEMU has it: what becomes low later stays pending.
                sources_[source].pending = sources_[source].high;
                update();
                return source << 16 | 1;
            }
        }
        require(false, "a register is read that is not there");
        return 0;
    }

    void write(std::uint64_t offset, unsigned width, std::uint32_t value) override {
        require(width == 4, "an access that is not of 32 bits");
        const bool messages = (imsic_ != nullptr) != other_mode;
        if (offset == 0) {
            domain_ = (value & 0x100) | (messages ? 4 : 0);
        } else if (offset >= 4 && offset < 0x1000) {
            require(value == 6, "a source that is not level-sensitive, high");
            at(offset / 4).active = true;
        } else if (offset >= 0x3004 && offset < 0x4000) {
            source_state& source = at((offset - 0x3000) / 4);
            require(source.active, "the target of an inactive source is read-only");
            source.target = value;
        } else if (offset == 0x1edc) {
            at(value).enabled = true;
            if (at(value).high) {
                make_pending(value);
            }
        } else if (offset == 0x1fdc) {
            at(value).enabled = false;
        } else if (offset >= 0x1f00 && offset < 0x1f80) {
            for (std::uint32_t bit = 0; bit < 32; ++bit) {
                const std::uint64_t source = (offset - 0x1f00) * 8 + bit;
                if ((value >> bit & 1) != 0 && source < sources_.size()) {
                    sources_[source].enabled = false;
                }
            }
        } else if (offset == 0x2000 && imsic_ != nullptr) {
            ++made_pending_;
            if (at(value).high || as_qemu_before_9) {
                make_pending(value);
            }
        } else if (const std::uint64_t hart = (offset - 0x4000) / 32;
                   offset >= 0x4000 && hart < harts_.size() && imsic_ == nullptr) {
            offset % 32 == 0 ? void(harts_[hart].delivers = value == 1) : void(harts_[hart].threshold = value);
            require(offset % 32 == 0 || offset % 32 == 8, "a register of a hart that is not there");
        } else {
            require(false, "a register is written that is not there");
        }
        update();
    }

  private:
    struct source_state {
        bool high = false;
        bool pending = false;
        bool active = false;
        bool enabled = false;
        std::uint32_t target = 0;
    };
    struct hart_state {
        bool delivers = false;
        std::uint32_t threshold = 1; // as the firmware leaves it
    };

    void require(bool condition, const char* what) {
        if (!condition) {
            machine_.report("APLIC", what);
        }
    }
    source_state& at(std::uint64_t source) {
        require(source != 0 && source < sources_.size(), "a source that is not there");
        return sources_[source < sources_.size() ? source : 0];
    }
    void make_pending(std::uint32_t source) { sources_[source].pending = true; }

    std::uint32_t top(arch::hart_index hart) const {
        for (std::uint32_t source = 1; source < sources_.size(); ++source) {
            const source_state& each = sources_[source];
            if (each.pending && each.enabled && each.target >> 18 == hart &&
                (harts_[hart].threshold == 0 || (each.target & 0xff) < harts_[hart].threshold)) {
                return source;
            }
        }
        return 0;
    }
    void update() {
        if ((domain_ & 0x100) == 0) {
            return;
        }
        if (imsic_ == nullptr) {
            for (arch::hart_index hart = 0; hart < harts_.size(); ++hart) {
                lines_->set(hart, harts_[hart].delivers && top(hart) != 0);
            }
            return;
        }
        for (source_state& each : sources_) {
            if (each.pending && each.enabled) {
                each.pending = false;
                imsic_->send(imsic_model::file_of(each.target >> 18), each.target & 0x7ff);
            }
        }
    }

    arch::host::machine& machine_;
    imsic_model* imsic_;
    std::uint32_t domain_ = 0;
    std::vector<source_state> sources_;
    std::vector<hart_state> harts_;
    std::optional<hart_lines> lines_;
    unsigned made_pending_ = 0;
};

} // namespace inflight::model
