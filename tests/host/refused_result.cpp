// Must not compile: what the runtime cannot carry, by CASE. With REFUSED=0, the control, each is what the message asks for.
#include "async/channel.hpp"
#include "async/generator.hpp"
#include "async/task.hpp"

namespace {

using namespace inflight::async;

struct immovable {
    immovable() noexcept {}
    immovable(const immovable&) = delete;
    immovable& operator=(const immovable&) = delete;
};
[[maybe_unused]] immovable one;
[[maybe_unused]] int number = 1;

} // namespace

#if CASE == 1 // a reference as a result
#if REFUSED
using result = int&;
#else
using result = int*;
#endif
task<result> find() {
#if REFUSED
    co_return number;
#else
    co_return &number;
#endif
}
#elif CASE == 2 // a result that cannot be moved
#if REFUSED
task<immovable> find() {
    co_return immovable{};
}
#else
task<immovable*> find() {
    co_return &one;
}
#endif
#elif CASE == 3 // a channel without room
channel<int, REFUSED ? 0 : 1> numbers;
#elif CASE == 4 // values that cannot be moved
#if REFUSED
channel<immovable, 1> values;
#else
channel<immovable*, 1> values;
#endif
#elif CASE == 5 // references in a channel
#if REFUSED
channel<int&, 1> values;
#else
channel<int*, 1> values;
#endif
#elif CASE == 6 // references from a generator
#if REFUSED
generator<int&> all() {
    co_yield number;
}
#else
generator<int*> all() {
    co_yield &number;
}
#endif
#endif
