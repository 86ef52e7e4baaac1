#include "tests/simulation/simulated_disk.hpp"

#include <string>
#include <utility>
#include <vector>

namespace inflight::simulation {

namespace bits = model::feature;
using model::blk_configuration;

namespace {

// Of those that a driver notices at once: what they look like does not depend on what the driver has done meanwhile.
constexpr model::fault rule_breaks[] = {model::fault::used_id_out_of_range, model::fault::used_duplicate};

// Final, as whoever destroys it knows what it is.
struct modern_transport final : virtio::mmio_transport {
    using virtio::mmio_transport::mmio_transport;
};

blk_configuration configuration_of(run_context& in, unsigned number) {
    constexpr std::uint32_t rings[] = {4, 8, 16, 64};
    chooser& choose = in.choose;
    blk_configuration configuration;
    configuration.version = choose.percent(50) ? 1 : 2;
    configuration.capacity = disk_sectors;
    const bool on_pci = in.host.seed() % 5 == 0; // drawn from nothing, so that older seeds stay
    configuration.base =
        on_pci ? 0x4000'0000 + std::uintptr_t{0x10'0000} * number : 0x1000'1000 + std::uintptr_t{0x1000} * number;
    configuration.line = 1 + number;
    configuration.queues = static_cast<unsigned>(choose.between(1, 5));
    configuration.queue_size_max = choose.one_of(rings);
    configuration.tolerated.insert(hart_observer::by_hart);
    // One hart has seen that the device needs a reset; another may be about to notify, until it is stopped.
    configuration.tolerated.insert("STAT-04");
    // One hart has read InterruptStatus and is about to acknowledge; the home hart resets the device in between.
    if (in.host.harts() > 1) {
        configuration.tolerated.insert("MMIO-30");
    }
    std::uint64_t features = model::usual_features(configuration.version);
    for (const unsigned bit : {bits::event_idx, bits::indirect_desc, bits::mq, bits::flush}) {
        if (choose.percent(30)) {
            features &= ~bits::bit(bit);
        }
    }
    if (configuration.version == 2 && in.host.seed() % 3 == 0) { // as above
        features |= bits::bit(bits::ring_packed);
    }
    if (configuration.version == 2 && in.host.seed() % 4 == 1) { // as above
        features |= bits::bit(bits::in_order);
    }
    if (configuration.version == 2 && in.host.seed() % 7 < 4) {
        features |= bits::bit(bits::order_platform) | bits::bit(bits::notification_data) | bits::bit(bits::ring_reset);
        features |= on_pci ? bits::bit(bits::notif_config_data) : 0;
    }
    configuration.features = features;
    if (on_pci) {
        configuration.pci.emplace().vectors = static_cast<std::uint16_t>(configuration.queues + 1);
    }
    return configuration;
}

std::unique_ptr<model::virtio_blk_model> make_model(run_context& in, unsigned number) {
    auto made = std::make_unique<model::virtio_blk_model>(in.host, configuration_of(in, number));
    made->fill(in.host.seed() + number);
    return made;
}

} // namespace

simulated_disk::simulated_disk(run_context& in, unsigned number)
    : model{make_model(in, number)}, account{model->disk()}, in_{in} {
    start();
    observer = std::make_unique<hart_observer>(in.host, *model);
    choose_behaviour();
    const blk_configuration& configuration = model->configuration();
    in.say("disk " + std::to_string(number) + ": version " + std::to_string(configuration.version) + ", queues " +
           std::to_string(configuration.queues) + " of " + std::to_string(configuration.queue_size_max) +
           ", features " + std::to_string(*configuration.features) + (may_reset ? ", asks for a reset" : "") +
           (lies ? ", lies" : "") + ", limit " + std::to_string(limit) + ", swallows " + std::to_string(swallow));
}

// On any hart, with its interrupt at any or all of them.
void simulated_disk::start() {
    in_.host.select_hart(static_cast<hart_index>(in_.choose.below(in_.host.harts())));
    const blk_configuration& configuration = model->configuration();
    if (!(configuration.pci ? find_on_pci() : find())) {
        return in_.host.report("START", "the device is not recognised");
    }
    disk = std::make_unique<block::disk>(*transport);
    if (!pci_ && in_.host.seed() % 4 == 0) { // a transport with an interrupt for each queue
        in_.host.line_handler(configuration.line, [this] { deliver_messages(); });
    } else {
        in_.host.line_handler(configuration.line, [this] { disk->handle_line(); });
    }
    route(configuration.line);
    const std::uint16_t vectors = pci_ ? pci_->transport().vectors().count : std::uint16_t{0};
    for (std::uint16_t vector = 0; vector < vectors; ++vector) {
        in_.host.line_handler(pci_->line_of(vector), [this, vector] { pci_->handle(vector, disk.get()); });
        in_.host.make_message(pci_->line_of(vector)); // else a run with changes of the configuration may not end
        route(pci_->line_of(vector));
    }
    limit = in_.choose.percent(50) ? in_.choose.between(30'000, 60'000) : 0;
    if (disk->start(in_.memory, {.request_timeout = limit}) != virtio::error::none) {
        in_.host.report("START", "the disk does not start");
    }
    in_.host.select_hart(0);
}

bool simulated_disk::find() {
    const std::uintptr_t base = model->configuration().base;
    const virtio::mmio_identity slot = virtio::identify_mmio(base);
    if (slot.version == 1) {
        transport = std::make_shared<virtio::legacy_mmio_transport>(base);
    } else {
        transport = std::make_shared<modern_transport>(base);
    }
    return slot.outcome == virtio::error::none;
}

bool simulated_disk::find_on_pci() {
    const auto number = static_cast<unsigned>(model->configuration().line);
    pci_ = std::make_unique<test::virtio_pci_function>(in_.host, *model, 1000 + 100 * number);
    transport = pci_->shared_transport();
    // Not one vector of a legacy device: each interrupt would quiesce all harts, and a run with spurious ones not end.
    const std::uint16_t counts[] = {0, static_cast<std::uint16_t>(model->modern() ? 1 : 2), 2,
                                    static_cast<std::uint16_t>(model->configuration().queues + 1)};
    pci_->choose_vectors(in_.choose.one_of(counts));
    return true;
}

void simulated_disk::route(unsigned line) {
    if (in_.choose.percent(40)) {
        std::vector<hart_index> all;
        for (hart_index hart = 0; hart < in_.host.harts(); ++hart) {
            all.push_back(hart);
        }
        in_.host.share_line(line, all);
    } else {
        in_.host.route_line(line, static_cast<hart_index>(in_.choose.below(in_.host.harts())));
    }
}

// What PCI does with MSI-X: one interrupt for each that the device has raised for a queue, and one for changes.
void simulated_disk::deliver_messages() {
    const virtio::interrupt_cause cause = transport->acknowledge_interrupt();
    for (std::uint16_t queue = 0; queue < model->configuration().queues; ++queue) {
        const std::uint64_t raised = model->counters(queue).interrupts;
        if (std::exchange(delivered_[queue], raised) != raised) {
            disk->handle_queue(queue);
        }
    }
    if (cause.has(virtio::interrupt_cause::configuration_change)) {
        disk->handle_configuration();
    }
}

// What a device may do.
void simulated_disk::choose_permitted_behaviour() {
    chooser& choose = in_.choose;
    model::behaviour& b = model->behave;
    b.notification_latency_max = b.notification_latency_min + choose.below(200);
    b.latency_min = choose.below(100);
    b.latency_max = b.latency_min + choose.below(4000);
    b.random_order = choose.percent(60);
    b.burst = choose.percent(40) ? static_cast<unsigned>(choose.between(1, 8)) : 1;
    b.spurious_chance = choose.percent(30) ? 200 : 0;
    b.interrupt_suppressed_chance = choose.percent(30) ? 200 : 0;
    b.complete_in_rearm_window = choose.percent(30);
    b.complete_at_acknowledge = choose.percent(30);
    b.undefined_interrupt_bits = choose.percent(30);
    b.suppress_for = choose.percent(30) ? choose.between(1, 1000) : 0;
    b.avail_event_ahead = choose.percent(30) ? static_cast<unsigned>(choose.below(8)) : 0;
    b.trusts_notifications = choose.percent(70);
    b.in_order_batches = in_.host.seed() % 8 < 6;
    b.used_flags_noise = choose.percent(30);
    b.avail_event_noise = choose.percent(30);
    if (choose.percent(30)) {
        for (unsigned i = 0; i < 6; ++i) {
            b.bad_sectors.insert(choose.below(disk_sectors));
        }
    }
}

// What it must not do.
void simulated_disk::choose_faults() {
    chooser& choose = in_.choose;
    may_reset = choose.percent(20);
    if (may_reset) {
        model->inject(model::fault::needs_reset, choose.below(12), choose.between(1, 3));
    }
    lies = choose.percent(10);
    if (lies) {
        // Where each slot has one descriptor, a duplicate may overwrite a used element that the driver has not read. In a
        // packed ring it takes the place of a later one, which the driver then misses.
        const std::uint64_t overwriting = bits::bit(bits::indirect_desc) | bits::bit(bits::ring_packed);
        const bool only_ids = (model->offered() & overwriting) != 0;
        model->inject(only_ids ? rule_breaks[0] : choose.one_of(rule_breaks), choose.below(12), choose.between(1, 2));
    }
    // Only the limit helps against these.
    if (limit != 0) {
        if (choose.percent(30)) {
            swallow_after = choose.below(12);
            swallow = choose.between(1, 2);
            if (model->accepted(bits::in_order)) { // who comes after what it keeps would be late, too
                swallow = swallow_after = 0;
            }
        }
        if (choose.percent(30)) {
            model->inject(model::fault::no_interrupt, choose.below(12), choose.between(1, 3));
        }
        if (loses_notifications()) {
            model->inject(model::fault::notification_lost, in_.host.seed() / 4 % 12, 1 + in_.host.seed() / 48 % 2);
        }
    }
}

// By the seed, so that the seeds that were found before replay as they did.
bool simulated_disk::loses_notifications() const {
    return limit != 0 && in_.host.seed() % 4 == 0;
}

void simulated_disk::choose_behaviour() {
    choose_permitted_behaviour();
    choose_faults();
    chooser& choose = in_.choose;
    model::behaviour& b = model->behave;
    // A device that is slow, but in time, and does nothing else that could take longer.
    if (limit != 0 && !may_reset && !lies && swallow == 0 && choose.percent(20) && !loses_notifications()) {
        b.random_order = false;
        b.burst = 1;
        b.latency_max = limit * 9 / 10;
    }
    for (std::uint64_t changes = choose.percent(20) ? choose.between(1, 3) : 0; changes != 0; --changes) {
        in_.host.after(choose.below(20'000), [this] { model->raise_config_interrupt(); });
    }
    b.never_complete = [this](const model::request_view& view) {
        return swallows(view);
    };
}

// The device is given a request. Returns whether it keeps it for ever.
bool simulated_disk::swallows(const model::request_view& view) {
    if (view.type != model::request_type::in && view.type != model::request_type::out) {
        return false;
    }
    deliveries& of = deliveries_at(view.sector);
    ++of.taken;
    if (swallow_after != 0) {
        --swallow_after;
        return false;
    }
    if (swallow == 0) {
        return false;
    }
    --swallow;
    ++swallowed;
    ++of.swallowed;
    return true;
}

bool simulated_disk::touches_bad(std::uint64_t sector, std::uint64_t count) const {
    const auto& bad = model->behave.bad_sectors;
    const auto found = bad.lower_bound(sector);
    return found != bad.end() && *found < sector + count;
}

std::uint64_t simulated_disk::broken_rules() const {
    std::uint64_t sum = 0;
    for (const model::fault each : rule_breaks) {
        sum += model->fired(each);
    }
    return sum;
}

void simulated_disk::detach() {
    in_.host.enable_line(model->configuration().line, false);
    for (std::uint16_t vector = 0; pci_ && vector < pci_->transport().vectors().count; ++vector) {
        in_.host.enable_line(pci_->line_of(vector), false);
    }
}

} // namespace inflight::simulation
