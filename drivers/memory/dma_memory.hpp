// Memory that devices see: what a driver takes for its rings, and what it does to a caller's buffer before a device may
// use it.
//
// A kernel implements this interface once. A kernel whose devices reach all of its memory implements allocate() alone.
// A kernel with page tables, an IOMMU or bounce buffers also says how a buffer lies for a device, and prepares it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inflight {

// Which way a device moves data.
enum class dma_direction : std::uint8_t {
    to_device,   // the device reads the buffer
    from_device, // the device writes the buffer
};

class dma_memory {
  public:
    dma_memory() noexcept = default;
    dma_memory(const dma_memory&) = delete;
    dma_memory& operator=(const dma_memory&) = delete;

    static constexpr std::size_t page_size = 4096;

    // ---- memory of a driver, given once and for ever: what a device has known is never used for anything else ----

    // Returns memory that devices reach at arch::device_address(), contiguous for them, or nullptr if none is left. The
    // contents are undefined. Called while a device is started, on its home hart.
    [[nodiscard]] virtual std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept = 0;

    // The same for memory that only the driver uses. It shares no page with memory from allocate(), so that an IOMMU
    // can keep devices from it. A kernel may override this to return memory that devices cannot reach at all.
    [[nodiscard]] virtual std::byte* allocate_private(std::size_t bytes, std::size_t alignment) noexcept {
        return allocate((bytes + page_size - 1) & ~(page_size - 1), alignment < page_size ? page_size : alignment);
    }

    // ---- buffers of callers, while a device uses them ----

    // True if devices reach every buffer where it lies, contiguous, at arch::device_address(). The three functions
    // below are then never called, and a request costs nothing for them. The value must not change once a device is
    // started.
    [[nodiscard]] virtual bool is_direct() const noexcept { return true; }

    // How many bytes from `start` on, at least 1 and at most `length`, a device can reach as one piece. Any hart.
    [[nodiscard]] virtual std::size_t contiguous(const std::byte* start, std::size_t length) const noexcept {
        static_cast<void>(start);
        return length;
    }

    // Lets devices use a piece that contiguous() has returned: its address for a device goes to `address`. False if
    // there is no room (in an IOMMU, in a pool of bounce buffers); nothing is shared then, and the driver tries again
    // when something has been unshared. Any hart, several at once; never from an interrupt.
    [[nodiscard]] virtual bool share(const std::byte* start, std::size_t length, dma_direction direction,
                                     std::uint64_t& address) noexcept {
        static_cast<void>(start);
        static_cast<void>(length);
        static_cast<void>(direction);
        static_cast<void>(address);
        return false;
    }

    // Ends one share(), with the same arguments and the address that it returned: the device does not use the piece any
    // more. What the device has written is in the piece afterwards. Not called if a device that was reset has not
    // confirmed that.
    virtual void unshare(std::byte* start, std::size_t length, dma_direction direction,
                         std::uint64_t address) noexcept {
        static_cast<void>(start);
        static_cast<void>(length);
        static_cast<void>(direction);
        static_cast<void>(address);
    }

  protected:
    ~dma_memory() = default;
};

} // namespace inflight
