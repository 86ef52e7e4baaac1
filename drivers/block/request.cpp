#include "inflight/drivers/block/request.hpp"

#include "inflight/arch/arch.hpp"

namespace inflight::block {

void request::destroyed_in_flight() noexcept {
    arch::panic("a block request was destroyed in flight: the device may still write into its buffer");
}

} // namespace inflight::block
