// The checker itself: what it finds in small programs whose sets of outcomes are known.
#include "checker.hpp"

#include <boost/test/unit_test.hpp>
#include <set>
#include <string>
#include <vector>

namespace inflight::interleavings {

namespace {

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;
constexpr auto acq_rel = std::memory_order_acq_rel;

struct words {
    atomic<int> x{0};
    atomic<int> y{0};
    cell<int> data{0};
    std::array<int, 4> r{};
};

using program = std::vector<std::function<void(words&)>>;
using outcomes = std::set<std::string>;

struct litmus final : scenario {
    litmus(const program& what, unsigned registers, outcomes& seen) : program_{what}, count_{registers}, seen_{seen} {}
    unsigned harts() const override { return static_cast<unsigned>(program_.size()); }
    void run(unsigned hart) override { program_[hart](words_); }
    void at_end() override {
        std::string outcome;
        for (unsigned i = 0; i < count_; ++i) {
            outcome += static_cast<char>('0' + words_.r[i]);
        }
        seen_.insert(outcome);
    }

    words words_;
    const program& program_;
    unsigned count_;
    outcomes& seen_;
};

constexpr limits all{.preemptions = 100};

// What the first registers can hold at the end: the same whether or not executions end where another has been.
outcomes outcomes_of(const program& what, unsigned registers) {
    outcomes seen[2];
    for (const bool revisits : {false, true}) {
        limits bounds = all;
        bounds.revisits = revisits;
        const result found = explore(bounds, [&] { return std::make_unique<litmus>(what, registers, seen[revisits]); });
        BOOST_TEST(found.failure == "", found.failure << '\n' << found.schedule);
    }
    BOOST_TEST((seen[0] == seen[1]));
    return seen[0];
}

std::string failure_of(const program& what) {
    outcomes seen;
    return explore(all, [&] { return std::make_unique<litmus>(what, 0, seen); }).failure;
}

bool is_race(const std::string& failure) {
    return failure.starts_with("race");
}

void check(const outcomes& found, const outcomes& expected) {
    BOOST_CHECK_EQUAL_COLLECTIONS(found.begin(), found.end(), expected.begin(), expected.end());
}

} // namespace

BOOST_AUTO_TEST_SUITE(litmus_tests)

BOOST_AUTO_TEST_CASE(stores_are_buffered) {
    const auto buffered = [](std::memory_order writes, std::memory_order reads) {
        return outcomes_of({[=](words& w) { w.x.store(1, writes), w.r[0] = w.y.load(reads); },
                            [=](words& w) {
                                w.y.store(1, writes), w.r[1] = w.x.load(reads);
                            }},
                           2);
    };
    check(buffered(relaxed, relaxed), {"00", "01", "10", "11"});
    check(buffered(release, acquire), {"00", "01", "10", "11"});
}

// Read-modify-writes of one word are what replaces them here.
BOOST_AUTO_TEST_CASE(exchanges_of_one_word_are_not) {
    check(outcomes_of({[](words& w) { w.r[0] = w.x.exchange(1, relaxed); },
                       [](words& w) {
                           w.r[1] = w.x.exchange(2, relaxed);
                       }},
                      2),
          {"01", "20"});
}

BOOST_AUTO_TEST_CASE(message_passing) {
    const auto passing = [](std::memory_order writes, std::memory_order reads) {
        return outcomes_of({[=](words& w) { w.x.store(1, relaxed), w.y.store(1, writes); },
                            [=](words& w) {
                                w.r[0] = w.y.load(reads), w.r[1] = w.x.load(relaxed);
                            }},
                           2);
    };
    const outcomes with_old_data{"00", "01", "10", "11"};
    check(passing(release, acquire), {"00", "01", "11"});
    check(passing(relaxed, acquire), with_old_data);
    check(passing(release, relaxed), with_old_data);
    check(passing(relaxed, relaxed), with_old_data);
}

BOOST_AUTO_TEST_CASE(message_passing_of_a_field) {
    const auto passing = [](std::memory_order writes, std::memory_order reads) {
        return failure_of({[=](words& w) { w.data = 1, w.y.store(1, writes); },
                           [=](words& w) {
                               if (w.y.load(reads) == 1) {
                                   require(w.data == 1, "old data");
                               }
                           }});
    };
    BOOST_TEST(passing(release, acquire) == "");
    BOOST_TEST(is_race(passing(relaxed, acquire)));
    BOOST_TEST(is_race(passing(release, relaxed)));
}

BOOST_AUTO_TEST_CASE(fields_race) {
    const auto write = [](words& w) {
        w.data = 1;
    };
    const auto read = [](words& w) {
        w.r[0] = w.data;
    };
    BOOST_TEST(failure_of({read, read}) == "");
    BOOST_TEST(is_race(failure_of({write, read})));
    BOOST_TEST(is_race(failure_of({read, write})));
    BOOST_TEST(is_race(failure_of({write, write})));
    // A reader hands the field over to a writer.
    const auto read_then_write = [](std::memory_order hands_over) {
        return failure_of({[=](words& w) { w.r[0] = w.data, w.y.store(1, hands_over); },
                           [](words& w) {
                               if (w.y.load(acquire) == 1) {
                                   w.data = 1;
                               }
                           }});
    };
    BOOST_TEST(read_then_write(release) == "");
    BOOST_TEST(is_race(read_then_write(relaxed)));
}

BOOST_AUTO_TEST_CASE(coherence) {
    check(outcomes_of({[](words& w) { w.x.store(1, relaxed), w.x.store(2, relaxed); },
                       [](words& w) {
                           w.r[0] = w.x.load(relaxed), w.r[1] = w.x.load(relaxed);
                       }},
                      2),
          {"00", "01", "02", "11", "12", "22"});
    check(outcomes_of({[](words& w) { w.x.store(1, relaxed), w.r[0] = w.x.load(relaxed); },
                       [](words& w) {
                           w.x.store(2, relaxed), w.r[1] = w.x.load(relaxed);
                       }},
                      2),
          {"12", "11", "22"});
}

BOOST_AUTO_TEST_CASE(causality) {
    const auto chain = [](std::memory_order writes, std::memory_order reads) {
        return outcomes_of({[=](words& w) { w.x.store(1, relaxed); },
                            [=](words& w) { w.r[0] = w.x.load(relaxed), w.y.store(1, writes); },
                            [=](words& w) {
                                w.r[1] = w.y.load(reads), w.r[2] = w.x.load(relaxed);
                            }},
                           3);
    };
    const outcomes ordered{"000", "001", "010", "011", "100", "101", "111"};
    outcomes unordered = ordered;
    unordered.insert("110");
    check(chain(release, acquire), ordered);
    check(chain(relaxed, acquire), unordered);
    check(chain(release, relaxed), unordered);
}

BOOST_AUTO_TEST_CASE(independent_reads_of_independent_writes) {
    const auto found = outcomes_of({[](words& w) { w.x.store(1, release); }, [](words& w) { w.y.store(1, release); },
                                    [](words& w) { w.r[0] = w.x.load(acquire), w.r[1] = w.y.load(acquire); },
                                    [](words& w) {
                                        w.r[2] = w.y.load(acquire), w.r[3] = w.x.load(acquire);
                                    }},
                                   4);
    BOOST_TEST(found.size() == 16);
    BOOST_TEST(found.contains("1010"));
}

BOOST_AUTO_TEST_CASE(read_modify_writes_are_atomic) {
    check(outcomes_of({[](words& w) { w.r[0] = w.x.fetch_add(1, relaxed); },
                       [](words& w) { w.r[1] = w.x.fetch_add(1, relaxed); },
                       [](words& w) {
                           w.r[2] = w.x.fetch_add(1, relaxed);
                       }},
                      3),
          {"012", "021", "102", "120", "201", "210"});
    // Two loads and stores are not.
    check(outcomes_of({[](words& w) { w.r[0] = w.x.load(relaxed), w.x.store(w.r[0] + 1, relaxed); },
                       [](words& w) {
                           w.r[1] = w.x.load(relaxed), w.x.store(w.r[1] + 1, relaxed);
                       }},
                      2),
          {"00", "01", "10"});
}

BOOST_AUTO_TEST_CASE(one_compare_exchange_succeeds) {
    const auto attempt = [](int me, bool weak) {
        return [=](words& w) {
            int expected = 0;
            const bool done = weak ? w.x.compare_exchange_weak(expected, me, relaxed, relaxed)
                                   : w.x.compare_exchange_strong(expected, me, relaxed, relaxed);
            w.r[static_cast<unsigned>(me - 1)] = done ? 9 : expected;
        };
    };
    check(outcomes_of({attempt(1, false), attempt(2, false)}, 2), {"91", "29"});
    // A weak one fails for no reason once in an execution: both may have failed only if the other has not.
    check(outcomes_of({attempt(1, true), attempt(2, true)}, 2), {"91", "29", "09", "90"});
}

BOOST_AUTO_TEST_CASE(release_sequences) {
    const auto sequence = [](std::function<void(words&)> between) {
        return failure_of({[](words& w) { w.data = 1, w.x.store(1, release); }, std::move(between),
                           [](words& w) {
                               if (w.x.load(acquire) == 2) {
                                   require(w.data == 1, "old data");
                               }
                           }});
    };
    const auto if_one = [](words& w) {
        int expected = 1;
        static_cast<void>(w.x.compare_exchange_strong(expected, 2, relaxed, relaxed));
    };
    BOOST_TEST(sequence(if_one) == ""); // a read-modify-write continues it
    BOOST_TEST(is_race(sequence([](words& w) {
        if (w.x.load(relaxed) == 1) {
            w.x.store(2, relaxed); // a store does not
        }
    })));
}

BOOST_AUTO_TEST_CASE(acquire_and_release_of_one_exchange) {
    // The token goes round: whoever has it writes the field.
    const auto taker = [](std::memory_order order) {
        return [=](words& w) {
            if (w.x.exchange(1, order) == 0) {
                w.data = w.data + 1;
                w.x.store(0, release);
            }
        };
    };
    BOOST_TEST(failure_of({taker(acquire), taker(acquire)}) == "");
    BOOST_TEST(is_race(failure_of({taker(release), taker(relaxed)})));
    BOOST_TEST(failure_of({taker(acq_rel), taker(acq_rel)}) == "");
}

// The fences of arch.hpp: what each of them forbids, and that nothing less does.
BOOST_AUTO_TEST_CASE(full_fences_forbid_that_both_miss_the_other) {
    const auto buffered = [](void (*first)(const char*, int), void (*second)(const char*, int)) {
        return outcomes_of({[=](words& w) { w.x.store(1, relaxed), first("", 1), w.r[0] = w.y.load(relaxed); },
                            [=](words& w) {
                                w.y.store(1, relaxed), second("", 2), w.r[1] = w.x.load(relaxed);
                            }},
                           2);
    };
    check(buffered(arch::fence_full, arch::fence_full), {"01", "10", "11"});
    const outcomes all_of_them{"00", "01", "10", "11"};
    for (const auto weaker :
         {arch::fence_publish, arch::fence_consume, arch::fence_doorbell, arch::fence_acknowledge}) {
        check(buffered(arch::fence_full, weaker), all_of_them);
        check(buffered(weaker, arch::fence_full), all_of_them);
    }
}

BOOST_AUTO_TEST_CASE(message_passing_with_fences) {
    using fence = void (*)(const char*, int);
    const auto passing = [](fence writes, fence reads) {
        return failure_of({[=](words& w) {
                               w.data = 1;
                               if (writes != nullptr) {
                                   writes("", 1);
                               }
                               w.y.store(1, relaxed);
                           },
                           [=](words& w) {
                               const bool there = w.y.load(relaxed) == 1;
                               if (reads != nullptr) {
                                   reads("", 2);
                               }
                               if (there) {
                                   require(w.data == 1, "old data");
                               }
                           }});
    };
    for (const fence writes : {fence{arch::fence_publish}, fence{arch::fence_full}}) {
        for (const fence reads : {fence{arch::fence_consume}, fence{arch::fence_full}}) {
            BOOST_TEST(passing(writes, reads) == "");
        }
        BOOST_TEST(is_race(passing(writes, nullptr)));
        BOOST_TEST(is_race(passing(writes, arch::fence_publish)));
    }
    BOOST_TEST(is_race(passing(nullptr, arch::fence_consume)));
    BOOST_TEST(is_race(passing(arch::fence_consume, arch::fence_consume)));
    BOOST_TEST(is_race(passing(arch::fence_doorbell, arch::fence_consume))); // orders registers
}

// Stores reach all others at once: whoever has read what was stored after a full fence of anybody, and fences, knows what came
// before that.
BOOST_AUTO_TEST_CASE(a_full_fence_is_known_through_others) {
    const auto third = [](void (*reads)(const char*, int)) {
        return failure_of({[](words& w) { w.x.store(1, relaxed), arch::fence_full("", 1), w.y.exchange(1, relaxed); },
                           [](words& w) {
                               int expected = 1; // stores 2, and passes on nothing of its own
                               static_cast<void>(w.y.compare_exchange_strong(expected, 2, relaxed, relaxed));
                           },
                           [=](words& w) {
                               const bool later = w.y.load(relaxed) == 2;
                               reads("", 2);
                               require(!later || w.x.load(relaxed) == 1, "not known");
                           }});
    };
    BOOST_TEST(third(arch::fence_consume) == "");
    BOOST_TEST(third(arch::fence_publish) == "not known");
}

BOOST_AUTO_TEST_CASE(what_is_read_is_passed_on_by_a_publishing_fence) {
    const auto chain = [](void (*between)(const char*, int)) {
        return failure_of({[](words& w) { w.data = 1, w.x.store(1, release); },
                           [=](words& w) {
                               if (w.x.load(relaxed) == 1) {
                                   between("", 1), w.y.store(1, relaxed);
                               }
                           },
                           [](words& w) {
                               if (w.y.load(acquire) == 1) {
                                   require(w.data == 1, "old data");
                               }
                           }});
    };
    BOOST_TEST(chain(arch::fence_publish) == "");
    BOOST_TEST(is_race(chain(arch::fence_consume)));
}

BOOST_AUTO_TEST_CASE(interrupts_stay_pending) {
    const auto sender = [](words& w) {
        if (w.x.exchange(2, relaxed) == 1) {
            raise(0, cause::software);
        }
    };
    const auto waiter = [](bool masks, int waits) {
        return [=](words& w) {
            static_cast<void>(masks && mask_interrupts());
            if (w.x.exchange(1, relaxed) == 0) {
                for (int i = 0; i < waits; ++i) {
                    wait_for_interrupt();
                    restore_interrupts(masks); // taken here
                    static_cast<void>(masks && mask_interrupts());
                }
            }
        };
    };
    BOOST_TEST(failure_of({waiter(true, 1), sender}) == "");
    BOOST_TEST(failure_of({waiter(true, 2), sender}).starts_with("lost wake-up: hart 0"));  // one ends one wait
    BOOST_TEST(failure_of({waiter(false, 1), sender}).starts_with("lost wake-up: hart 0")); // taken before the wait
}

BOOST_AUTO_TEST_CASE(loops_without_an_end_are_found) {
    BOOST_TEST(failure_of({[](words& w) {
                   while (w.x.load(relaxed) == 0) {
                   }
               }}).starts_with("no end"));
}

BOOST_AUTO_TEST_CASE(the_bound_of_preemptions_bounds) {
    // The second hart must stop the first one twice for this.
    const program twice{[](words& w) { w.x.store(1, relaxed), w.x.store(2, relaxed), w.x.store(3, relaxed); },
                        [](words& w) {
                            w.r[0] = w.x.exchange(7, relaxed), w.r[1] = w.x.exchange(8, relaxed);
                        }};
    const auto finds = [&](unsigned preemptions) {
        outcomes seen;
        const limits bound{.preemptions = preemptions};
        BOOST_TEST(explore(bound, [&] { return std::make_unique<litmus>(twice, 2, seen); }).failure == "");
        return seen.contains("12");
    };
    BOOST_TEST(!finds(2));
    BOOST_TEST(finds(3)); // the first twice, the second once
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace inflight::interleavings
