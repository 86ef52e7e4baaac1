// The requests that the driver is given, and the checks of how each ends and of its buffer.
#pragma once

#include "async/counting_scope.hpp"
#include "async/task.hpp"
#include "tests/fuzz/device/input.hpp"
#include "tests/fuzz/device/request_table.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace inflight::fuzz {

class workload {
  public:
    workload(arch::host::machine&, input&, std::byte* buffers, request_table&);

    void open_scope(unsigned hart) { scopes_[hart].emplace(); }
    void close_scopes();

    // Starts a request of the fuzzer's choice. `unseen`: the device cannot tell what it is shown.
    void start_request(block::disk&, bool unseen);
    void stop_a_request();
    const request_record& start_read(block::disk&, std::size_t bytes); // of sector 0, on hart 0; no other is in flight

    void check_memory() const;

  private:
    template <typename Request>
    async::task<void> attend(block::disk&, request_record&, Request);
    async::task<void> attend_scattered(block::disk&, request_record&, std::uint64_t sector, unsigned pieces);
    static async::task<void> attend_switch(block::disk&, request_record&, bool enabled);
    static async::task<void> attend_append(block::disk&, request_record&, std::uint64_t zone);
    static async::task<void> attend_report(block::disk&, request_record&, std::uint64_t sector);
    static void ended(request_record&, block::status);

    arch::host::machine& host_;
    input& in_;
    std::byte* buffers_; // with red zones between
    request_table& requests_;
    std::array<std::optional<async::counting_scope>, harts> scopes_;
};

} // namespace inflight::fuzz
