// Must not compile: a time limit for a wait that was given no token, which nothing could end early. With REFUSED=0, the
// control, it has one.
#include "async/semaphore.hpp"
#include "async/task.hpp"
#include "async/with_timeout.hpp"

inflight::async::task<void> take(inflight::async::semaphore& slots) {
#if REFUSED
    static_cast<void>(co_await inflight::async::with_timeout(slots.acquire(), 10));
#else
    static_cast<void>(co_await inflight::async::with_timeout(slots.acquire(inflight::async::stop_token{}), 10));
#endif
}
