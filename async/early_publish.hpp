// Whether a hart that polls publishes in the midst of a round, and notifies the device after the first requests of it.
//
// A device with a thread of its own runs out of work while the hart goes through a long round. Notified early, it works
// on the first requests while the hart makes the others, and goes on looking at the ring, so that it needs no further
// notification. A device that works only while it is notified would cost the hart a notification more for each round.
// So the hart tries it for a few rounds, and goes on as long as the device needs no notification for most of them.
//
//     bool example() {
//         early_publish early;
//         for (int round = 0; round < 100 && early.pays(); ++round) {
//             early.round_ended(true); // the device needed a notification
//         }
//         return !early.pays();
//     }
#pragma once

#include <cstdint>

namespace inflight::async {

class early_publish {
  public:
    [[nodiscard]] bool pays() const noexcept { return pays_; }

    // After a round. `notified`: something was published early, and needed a notification.
    void round_ended(bool notified) noexcept {
        notified_ += notified ? 1 : 0;
        if (--rounds_left_ == 0) {
            pays_ = !pays_ || notified_ <= rounds_of_a_trial / 2;
            rounds_left_ = pays_ ? rounds_of_a_trial : rounds_between_trials;
            notified_ = 0;
        }
    }

  private:
    static constexpr std::uint32_t rounds_of_a_trial = 32;
    static constexpr std::uint32_t rounds_between_trials = 2048;

    bool pays_ = true;
    std::uint32_t notified_ = 0; // rounds of this trial
    std::uint32_t rounds_left_ = rounds_of_a_trial;
};

} // namespace inflight::async
