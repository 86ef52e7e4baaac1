// Must not compile: an aggregate with a destructor passed by value to a task. With REFUSED=0, the control, it is passed in
// a class that has a constructor, and all is well.
#include "async/task.hpp"

#include <memory>

struct plain {
    std::shared_ptr<int> owner;
};

class constructed {
  public:
    explicit constructed(plain from) noexcept : inside_{from} {}

  private:
    plain inside_;
};

#if REFUSED
using argument = plain;
#else
using argument = constructed;
#endif

inflight::async::task<void> take(argument) {
    co_return;
}
