// Concurrent reads and writes, and the checks of how each has ended.
#pragma once

#include "async/stop_token.hpp"
#include "tests/host/driver_fixture.hpp"

#include <cstring>
#include <memory>
#include <span>
#include <vector>

namespace inflight::test::hostile {

class request_group {
  public:
    explicit request_group(world& w) : world_{w} {}

    void start(std::uint64_t sector, std::size_t bytes, std::size_t piece, bool writes) {
        entry& each = *requests_.emplace_back(std::make_unique<entry>());
        each.sector = sector;
        each.writes = writes;
        each.memory = world_.buffer(bytes);
        if (writes)
            fill_pattern(each.memory, sector + 1);
        else
            std::memset(each.memory.data(), 0x11, bytes);
        each.before.assign(each.memory.begin(), each.memory.end());
        each.into = cut(each.memory, piece);
        each.from = cut(std::span<const std::byte>{each.memory}, piece);
        world_.spawn(attend(each));
    }
    void stop_every_second() {
        for (std::size_t i = 1; i < requests_.size(); i += 2)
            requests_[i]->source.request_stop();
    }
    bool over() const { return world_.scope.size() == 0; }
    std::size_t size() const { return requests_.size(); }

    template <typename May>
    void check(unsigned wrong_permitted, May may_end_with) {
        unsigned wrong = 0;
        for (const auto& each : requests_) {
            BOOST_TEST(each->ends == 1U);
            BOOST_TEST(may_end_with(each->outcome), each->outcome << " is not what this fault may lead to");
            if (each->outcome == status::device_lost)
                continue; // the device has not confirmed that it is through with the buffer
            BOOST_TEST(same(each->memory, each->when_ended),
                       "a buffer that was handed back was written, " << each->outcome);
            if (each->writes)
                BOOST_TEST(same(each->memory, each->before), "what was to be written has changed");
            wrong += each->outcome == status::ok && !each->right ? 1 : 0;
        }
        BOOST_TEST(wrong <= wrong_permitted, wrong << " requests ended with ok and wrong data");
    }

  private:
    struct entry {
        entry() = default; // not an aggregate: see coroutine.hpp
        std::uint64_t sector = 0;
        bool writes = false;
        std::span<std::byte> memory;
        std::vector<std::byte> before;
        std::vector<std::span<std::byte>> into;
        std::vector<std::span<const std::byte>> from;
        async::stop_source source;
        status outcome = status::ok;
        unsigned ends = 0;
        bool right = false;
        std::vector<std::byte> when_ended;
    };

    task<void> attend(entry& each) {
        if (each.writes) {
            block::request request = world_.disk().write(each.sector, each.from);
            request.set_stop_token(each.source.get_token());
            each.outcome = co_await request;
        } else {
            block::request request = world_.disk().read(each.sector, each.into);
            request.set_stop_token(each.source.get_token());
            each.outcome = co_await request;
        }
        ++each.ends;
        const std::size_t sectors = each.memory.size() / 512;
        const bool on_disk = (each.sector + sectors) * 512 <= world_.model().disk().size();
        each.right = on_disk && same(each.memory, world_.on_disk(each.sector, sectors));
        each.when_ended.assign(each.memory.begin(), each.memory.end());
    }

    world& world_;
    std::vector<std::unique_ptr<entry>> requests_;
};

} // namespace inflight::test::hostile
