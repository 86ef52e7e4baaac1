// The protocols that harts share, as scenarios of the checker. Each runs as it is, and with one thing done wrong.
#pragma once

#include "checker.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace inflight::interleavings {

// What is done wrong.
enum class mistake : std::uint8_t {
    none,
    // the idle sequence: a step left out, or done after the one that follows it
    no_mask,
    no_look,
    no_fall_asleep,
    no_wait,
    no_wake_up,
    no_unmask,
    mask_after_look,
    look_after_fall_asleep, // right, too
    fall_asleep_after_wait,
    wait_after_wake_up,
    wake_up_after_unmask, // right, too
    sleeps_although_told_not_to,
    // posting
    no_interrupt,
    interrupt_before_post,
    content_after_post,
    two_words,          // a list, and beside it a word that says that the owner sleeps, set before the last look
    two_words_set_late, // the same, set after the last look
    last_in_first_out,  // the list as it was stacked
    // from an interrupt to its owner
    look_before_acknowledge,
    unmark_after_look,
    // the wake node
    flag_cleared_after_look,
    flag_cleared_before_next_is_read,
    flag_cleared_by_store,
    flag_set_by_load_and_store,
    written_after_flag,
    // stop the world
    one_acknowledgement_is_enough,
    acknowledged_too_early,
    go_on_before_change,
};

struct protocol {
    const char* name;
    limits bounds;
    std::function<std::unique_ptr<scenario>(mistake)> make;
    struct mutant {
        mistake what;
        const char* text;
    };
    std::vector<mutant> wrong;
    std::vector<mutant> right; // other ways to do it that must pass
};

const std::vector<protocol>& protocols();

} // namespace inflight::interleavings
