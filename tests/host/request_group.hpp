// Concurrent reads and writes, each with memory of its own, and the checks of how they ended.
#pragma once

#include "async/stop_token.hpp"
#include "tests/host/driver_fixture.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace inflight::test {

class request_group {
  public:
    enum class stopping : bool { impossible, possible };

    explicit request_group(world& w, stopping stop = stopping::impossible) : world_{w}, stop_{stop} {}

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
        BOOST_REQUIRE((stop_ == stopping::possible));
        for (std::size_t i = 1; i < requests_.size(); i += 2)
            requests_[i]->source.request_stop();
    }
    bool over() const { return world_.scope.size() == 0; }
    std::size_t size() const { return requests_.size(); }
    std::size_t count(status outcome) const {
        return static_cast<std::size_t>(std::count_if(requests_.begin(), requests_.end(),
                                                      [&](const auto& each) { return each->outcome == outcome; }));
    }

    // Checks that each request ended once, with a status that `may_end_with` permits, and that its memory has not
    // changed since. At most `wrong_permitted` requests may have ended with ok and wrong data.
    template <typename May>
    void check(std::size_t wrong_permitted, May may_end_with) const {
        std::size_t wrong = 0;
        std::string sectors;
        for (const auto& each : requests_) {
            BOOST_TEST(each->ends == 1U);
            BOOST_TEST(may_end_with(each->outcome), each->outcome << " is not a permitted result of this fault");
            if (each->outcome == status::device_lost)
                continue; // the device has not confirmed that it has stopped using the buffer
            BOOST_TEST(same(each->memory, each->when_ended),
                       "a buffer was written after its request ended, " << each->outcome);
            if (each->writes)
                BOOST_TEST(same(each->memory, each->before), "the data of a write has changed");
            if (each->outcome == status::ok && !each->right) {
                ++wrong;
                sectors += " " + std::to_string(each->sector);
            }
        }
        BOOST_TEST(wrong <= wrong_permitted, wrong << " requests ended with ok and wrong data, at sectors" << sectors);
    }
    void check(std::size_t wrong_permitted) const {
        check(wrong_permitted, [](status) { return true; });
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
            set_stop_token(request, each);
            each.outcome = co_await request;
        } else {
            block::request request = world_.disk().read(each.sector, each.into);
            set_stop_token(request, each);
            each.outcome = co_await request;
        }
        ++each.ends;
        const std::size_t sectors = each.memory.size() / 512;
        const bool on_disk = (each.sector + sectors) * 512 <= world_.model().disk().size();
        each.right = on_disk && same(each.memory, world_.on_disk(each.sector, sectors));
        each.when_ended.assign(each.memory.begin(), each.memory.end());
    }
    void set_stop_token(block::request& request, entry& each) const {
        if (stop_ == stopping::possible)
            request.set_stop_token(each.source.get_token());
    }

    world& world_;
    stopping stop_;
    std::vector<std::unique_ptr<entry>> requests_;
};

} // namespace inflight::test
