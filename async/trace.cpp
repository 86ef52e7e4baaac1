#include "inflight/async/trace.hpp"

#if INFLIGHT_TRACE

#include <array>
#include <cstring>

namespace inflight::trace {

hart_rings rings[max_harts];
std::atomic<bool> recording{true};

namespace {

std::uint32_t disks = 0;

// One line, made of words.
class line {
  public:
    line& text(std::string_view word) noexcept {
        const std::size_t room = characters_.size() - 1 - length_; // the end of the line has its place
        const std::size_t length = word.size() < room ? word.size() : room;
        std::memcpy(characters_.data() + length_, word.data(), length);
        length_ += length;
        return *this;
    }

    line& number(std::uint64_t value, unsigned base = 16) noexcept {
        char digits[20];
        char* first = digits + sizeof digits;
        do {
            *--first = "0123456789abcdef"[value % base];
            value /= base;
        } while (value != 0);
        return text({first, static_cast<std::size_t>(digits + sizeof digits - first)});
    }

    [[nodiscard]] bool has_room_for_a_record() const noexcept { return characters_.size() - length_ > 40; }

    void end(line_writer writer, void* to) noexcept {
        characters_[length_++] = '\n';
        writer(to, {characters_.data(), length_});
        length_ = 0;
    }

  private:
    std::array<char, 200> characters_{};
    std::size_t length_ = 0;
};

template <typename Ring>
void write_ring(const Ring& from, std::string_view kind, arch::hart_index hart, line_writer writer, void* to) noexcept {
    for (std::uint64_t i = 0; i < from.count();) {
        line next;
        next.text("@trace ").text(kind).text(" ").number(hart, 10);
        for (arch::ticks before = 0; i < from.count() && next.has_room_for_a_record(); ++i) {
            const entry& written = from[i];
            const char letter = static_cast<char>(written.what());
            next.text(" ").number(written.time - before).text({&letter, 1});
            if (written.argument() != 0) {
                next.number(written.argument());
            }
            before = written.time;
        }
        next.end(writer, to);
    }
}

// Each name once; those beyond the first few dozen stay addresses.
void write_names(line_writer writer, void* to) noexcept {
    std::array<std::uint64_t, 64> known{};
    std::size_t count = 0;
    for (const hart_rings& hart : rings) {
        for (std::uint64_t i = 0; i < hart.main.count(); ++i) {
            const entry& written = hart.main[i];
            bool is_new = written.what() == event::name && count < known.size();
            for (std::size_t k = 0; k < count && is_new; ++k) {
                is_new = known[k] != written.argument();
            }
            if (is_new) {
                known[count++] = written.argument();
                const auto* const name = reinterpret_cast<const char*>(written.argument());
                line{}.text("@trace name ").number(written.argument()).text(" ").text(name).end(writer, to);
            }
        }
    }
}

} // namespace

track new_disk() noexcept {
    return {disks++ & 0xff, 0};
}

void write(line_writer writer, void* to) noexcept {
    recording.store(false, std::memory_order_relaxed);
    for (arch::hart_index hart = 0; hart < max_harts; ++hart) {
        const hart_rings& of = rings[hart];
        if (of.main.count() + of.interrupts.count() != 0) {
            line{}
                .text("@trace hart ")
                .number(hart, 10)
                .text(" ")
                .number(arch::ticks_per_second(), 10)
                .text(" ")
                .number(of.main.lost(), 10)
                .text(" ")
                .number(of.interrupts.lost(), 10)
                .end(writer, to);
            write_ring(of.main, "main", hart, writer, to);
            write_ring(of.interrupts, "interrupts", hart, writer, to);
        }
    }
    write_names(writer, to);
    line{}.text("@trace end").end(writer, to);
}

void restart() noexcept {
    for (hart_rings& of : rings) {
        of.main.clear();
        of.interrupts.clear();
    }
    disks = 0;
    recording.store(true, std::memory_order_relaxed);
}

} // namespace inflight::trace

#endif
