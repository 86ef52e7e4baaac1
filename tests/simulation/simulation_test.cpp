// The runtime and the driver, as they are, on simulated harts that run at once, with devices that are late, out of
// order and at times broken (they swallow requests, lie, ask for a reset), with interrupts that are late, lost or for
// nothing, and with stops and timeouts. One seed is one machine, one workload and one interleaving.
//
//     simulation_test --seeds=N [--first-seed=K]   runs N seeds from K (1) on; stops at the first that fails
//     simulation_test --seed=K                     runs that one, and tells what it is made of
//
// What must hold, for every seed:
//   no hart sleeps for ever while work is left (a wake-up was lost), and none goes on for ever; none sleeps, without a
//     wake-up on its way, once something has been posted to it;
//   what one hart posts to another arrives once, there, and in order;
//   every request ends once, with the status that the device's state calls for, and reads return what was written last,
//     by an account kept here, which the disk must agree with at the end; the device is given each once, unless it is
//     reset; what was stopped is not given to it; what it swallows times out, and nothing else does; a device is reset
//     as often as there is a reason for it;
//   a semaphore serves those who wait in the order in which they came, never more at once than it has permits, and has
//     all of them again at the end; nobody wakes before the time asked for; time never goes back;
//   the device models find nothing that the driver must not do; and no frame is left at the end.
#include "tests/simulation/simulated_run.hpp"
#include "tests/simulation/totals.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <malloc.h>
#include <string_view>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define INFLIGHT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INFLIGHT_SANITIZED 1
#endif
#endif
#ifdef INFLIGHT_SANITIZED
#include <sanitizer/common_interface_defs.h>
#endif

namespace {

using namespace inflight::simulation;

std::uint64_t seed_under_way = 0;

// For what is not found in an orderly way.
void say_seed(int signal) {
    char text[64];
    const int length = std::snprintf(text, sizeof text, "signal %d at --seed=%llu\n", signal,
                                     static_cast<unsigned long long>(seed_under_way));
    static_cast<void>(!write(STDERR_FILENO, text, static_cast<std::size_t>(length)));
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

#ifdef INFLIGHT_SANITIZED
void say_seed_of_the_sanitizer() {
    std::fprintf(stderr, "at --seed=%llu\n", static_cast<unsigned long long>(seed_under_way));
}
#endif

void catch_signals() {
#ifdef INFLIGHT_SANITIZED
    __sanitizer_set_death_callback(say_seed_of_the_sanitizer);
#endif
    static std::array<std::byte, 65536> stack;
    stack_t alternate{};
    alternate.ss_sp = stack.data();
    alternate.ss_size = stack.size();
    sigaltstack(&alternate, nullptr);
    struct sigaction action {};
    action.sa_handler = say_seed;
    action.sa_flags = SA_ONSTACK;
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM}) {
        sigaction(signal, &action, nullptr);
    }
}

int usage() {
    std::fprintf(stderr, "usage: simulation_test [--seeds=N] [--first-seed=K] | --seed=K\n");
    return 2;
}

void print(const totals& all, std::uint64_t first, double seconds) {
    const auto add = [](const char* name, std::uint64_t value) {
        std::printf(", %llu %s", static_cast<unsigned long long>(value), name);
    };
    std::printf("%llu seeds from %llu on, %.1f s", static_cast<unsigned long long>(all.seeds),
                static_cast<unsigned long long>(first), seconds);
    add("harts", all.harts);
    add("steps", all.steps);
    add("switches", all.switches);
    add("interrupts", all.interrupts);
    add("of them by software", all.software_interrupts);
    add("sleeps", all.sleeps);
    add("requests", all.requests);
    add("of them failed", all.failed_requests);
    add("of them through another hart", all.sent);
    add("hops", all.hops);
    add("resets of devices", all.resets);
    add("stops", all.stops);
    add("requests cancelled", all.cancelled);
    add("timed out", all.timed_out);
    add("interrupts lost", all.lost_interrupts);
    add("notifications lost", all.lost_notifications);
    add("lies", all.lies);
    std::printf("\n");
}

} // namespace

int main(int count, char** arguments) {
    std::uint64_t first = 1, seeds = 1000;
    bool one = false;
    for (int i = 1; i < count; ++i) {
        const std::string_view argument = arguments[i];
        const std::size_t equals = argument.find('=');
        if (equals == std::string_view::npos) {
            return usage();
        }
        char* end = nullptr;
        const std::uint64_t value = std::strtoull(arguments[i] + equals + 1, &end, 0);
        if (*end != '\0' || end == arguments[i] + equals + 1) {
            return usage();
        }
        const std::string_view name = argument.substr(0, equals);
        if (name == "--seeds") {
            seeds = value;
        } else if (name == "--first-seed") {
            first = value;
        } else if (name == "--seed") {
            first = value;
            seeds = 1;
            one = true;
        } else {
            return usage();
        }
    }
    catch_signals();
    // Each seed has the same large blocks; to give them back to the system each time takes longer than the seed.
    mallopt(M_MMAP_THRESHOLD, 1 << 28);
    mallopt(M_TRIM_THRESHOLD, 1 << 28);
    const auto start = std::chrono::steady_clock::now();
    totals all;
    for (std::uint64_t seed = first; seed - first < seeds; ++seed) {
        seed_under_way = seed;
        alarm(60);
        simulated_run simulated{seed, one};
        if (!simulated.run()) {
            std::fprintf(stderr, "%s\nfailed; again with: simulation_test --seed=%llu\n",
                         simulated.description().c_str(), static_cast<unsigned long long>(seed));
            std::fflush(nullptr);
            std::_Exit(1); // what is under way cannot be destroyed
        }
        all.add(simulated.figures());
    }
    alarm(0);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    print(all, first, took.count());
    return 0;
}
