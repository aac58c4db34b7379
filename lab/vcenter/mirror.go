package main

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// mirror keeps virtual machines and the lab's machines alike, in both directions: what a client asks of
// a virtual machine is done to its machine, and a machine that changed by itself shows in the inventory.
type mirror struct {
	runtime runtime
	place   string
	self    *simulator.Context // for what nobody asked for

	mu       sync.Mutex
	machines map[types.ManagedObjectReference]*machine
}

func newMirror(r runtime, place string) *mirror {
	return &mirror{
		runtime: r,
		place:   place,
		self: &simulator.Context{
			Context: context.Background(),
			Map:     simulator.Map,
			Session: &simulator.Session{
				UserSession: types.UserSession{UserName: "vcenter"},
				Registry:    simulator.NewRegistry(),
			},
		},
		machines: make(map[types.ManagedObjectReference]*machine),
	}
}

// adopt puts our own type in the place of the simulator's virtual machine. The simulator finds a method
// by its name on whatever object the registry holds, so ours are called instead of its own.
func (m *mirror) adopt(ref types.ManagedObjectReference, image string) *machine {
	vm := &machine{
		VirtualMachine: *simulator.Map.Get(ref).(*simulator.VirtualMachine),
		mirror:         m,
		image:          image,
	}
	vm.DisabledMethod = append(vm.DisabledMethod, "CreateSnapshotTask", "UnregisterVM")
	simulator.Map.Put(vm)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.machines[ref] = vm
	return vm
}

func (m *mirror) forget(ref types.ManagedObjectReference) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.machines, ref)
}

func (m *mirror) all() []*machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	vms := make([]*machine, 0, len(m.machines))
	for _, vm := range m.machines {
		vms = append(vms, vm)
	}
	return vms
}

// watch compares the inventory with the world until it is told to stop.
func (m *mirror) watch(stop context.Context, every time.Duration, lost string) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-stop.Done():
			return
		case <-ticker.C:
			m.compareHosts(lost)
			m.comparePower()
		}
	}
}

// comparePower shows in the inventory what happened to machines behind our back.
func (m *mirror) comparePower() {
	looked := make(map[*machine]int)
	for _, vm := range m.all() {
		if done, quiet := vm.quiet(); quiet {
			looked[vm] = done
		}
	}
	if len(looked) == 0 {
		return
	}
	states, err := m.runtime.list()
	if err != nil {
		log.Print(err) // we know nothing new
		return
	}
	for vm, done := range looked {
		vm.follow(powerStates[states[vm.id()]], done)
	}
}

// powerStates translates the runtime's words; a machine that it does not know is off.
var powerStates = map[string]types.VirtualMachinePowerState{
	"":          types.VirtualMachinePowerStatePoweredOff,
	"off":       types.VirtualMachinePowerStatePoweredOff,
	"running":   types.VirtualMachinePowerStatePoweredOn,
	"suspended": types.VirtualMachinePowerStateSuspended,
}

// compareHosts makes vCenter lose every host that has a file of its name in the directory, and find the
// others again. Their machines run on: only vCenter does not hear of them.
func (m *mirror) compareHosts(lost string) {
	for _, entity := range simulator.Map.All("HostSystem") {
		host := entity.(*simulator.HostSystem)
		state, guests := types.HostSystemConnectionStateConnected, types.VirtualMachineConnectionStateConnected
		if _, err := os.Stat(filepath.Join(lost, host.Name)); err == nil {
			state = types.HostSystemConnectionStateNotResponding
			guests = types.VirtualMachineConnectionStateDisconnected
		}
		simulator.Map.WithLock(host, func() {
			if host.Runtime.ConnectionState != state {
				simulator.Map.Update(host, []types.PropertyChange{
					{Name: "runtime.connectionState", Val: state},
				})
			}
		})
		for _, vm := range m.all() {
			vm.connect(host.Self, guests)
		}
	}
}

// tell records an event, as vCenter does for what happened without anybody's request.
func (m *mirror) tell(event types.BaseEvent) {
	manager := simulator.Map.EventManager()
	simulator.Map.WithLock(manager, func() {
		manager.PostEvent(m.self, &types.PostEvent{EventToPost: event})
	})
}
