/* SPDX-License-Identifier: ISC */
#include "vmmd/pci/msix.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "common/log.h"
#include "vmmd/errand.h"
#include "vmmd/irq.h"

enum { FIELD_ADDR = 0, FIELD_DATA = 8, FIELD_CONTROL = 12 };

static void free_tables(struct msix *m)
{
	free(m->vector);
	free(m->route);
	free(m->source);
	memset(m, 0, sizeof(*m));
}

int msix_init(struct msix *m, struct irqs *irqs, struct errands *errands, unsigned n_vectors, const int *fds,
	      unsigned n_sources)
{
	memset(m, 0, sizeof(*m));
	if (n_vectors == 0 || n_vectors > MSIX_VECTORS_MAX)
		return -EINVAL;
	m->irqs = irqs;
	m->errands = errands;
	m->n_vectors = n_vectors;
	m->n_sources = n_sources;
	m->vector = calloc(n_vectors, sizeof(*m->vector));
	m->route = calloc(n_vectors, sizeof(*m->route));
	m->source = calloc(n_sources + 1, sizeof(*m->source));
	if (m->vector == NULL || m->route == NULL || m->source == NULL || pthread_mutex_init(&m->mtx, NULL) != 0) {
		free_tables(m);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < n_vectors; i++)
		m->vector[i].masked = true;
	for (unsigned i = 0; i < n_sources; i++)
		m->source[i] = (struct msix_source){
			.vector = MSIX_NO_VECTOR,
			.fd = fds[i],
			.want = MSIX_NO_VECTOR,
			.bound = MSIX_NO_VECTOR,
		};
	return 0;
}

void msix_fini(struct msix *m)
{
	if (m->vector == NULL)
		return;
	(void)pthread_mutex_destroy(&m->mtx);
	free_tables(m);
}

/* --- what KVM is told: control thread -------------------------------------------------------------------------------- */

/* [mtx] */
static bool is_live(const struct msix *m, const struct msix_vector *v)
{
	return m->enabled && !m->function_mask && !v->masked && irqs_can_deliver(m->irqs, v->addr);
}

/* What is to be: a live vector with sources needs a route, and its sources are bound to it. */
static void choose(struct msix *m)
{
	(void)pthread_mutex_lock(&m->mtx);
	for (unsigned i = 0; i < m->n_vectors; i++) {
		const struct msix_vector *v = &m->vector[i];
		struct msix_route *route = &m->route[i];

		route->live = v->uses > 0 && is_live(m, v);
		route->addr = v->addr;
		route->data = v->data;
	}
	for (unsigned i = 0; i < m->n_sources; i++) {
		struct msix_source *s = &m->source[i];

		s->want = s->vector != MSIX_NO_VECTOR && m->route[s->vector].live ? s->vector : MSIX_NO_VECTOR;
	}
	(void)pthread_mutex_unlock(&m->mtx);
}

static void unbind(struct msix *m, struct msix_source *s)
{
	int r = irqs_unbind(m->irqs, m->route[s->bound].gsi, s->fd);

	if (r < 0)
		log_warn_rl("KVM does not release an interrupt: %s", strerrordesc_np(-r));
	s->bound = MSIX_NO_VECTOR;
}

static void set_route(struct msix *m, struct msix_route *route)
{
	if (route->live && route->gsi == 0) {
		int gsi = irqs_alloc_msi(m->irqs);

		if (gsi < 0)
			log_warn_rl("no interrupt route for an MSI-X vector: %s", strerrordesc_np(-gsi));
		else
			route->gsi = gsi;
	}
	if (route->gsi != 0)
		irqs_set_msi(m->irqs, route->gsi, route->live, route->addr, route->data);
}

static void bind(struct msix *m, struct msix_source *s)
{
	int gsi = m->route[s->want].gsi;
	int r = gsi != 0 ? irqs_bind(m->irqs, gsi, s->fd) : 0;

	if (r < 0)
		log_warn_rl("KVM refuses an interrupt: %s", strerrordesc_np(-r));
	else if (gsi != 0)
		s->bound = s->want;
}

/* Off what is masked, then the routes, then on: a bound eventfd always has a route. */
static bool run_sync(void *arg)
{
	struct msix *m = arg;

	choose(m);
	for (unsigned i = 0; i < m->n_sources; i++)
		if (m->source[i].bound != MSIX_NO_VECTOR && m->source[i].bound != m->source[i].want)
			unbind(m, &m->source[i]);
	for (unsigned i = 0; i < m->n_vectors; i++)
		set_route(m, &m->route[i]);
	int r = irqs_commit(m->irqs);

	if (r < 0)
		log_warn_rl("KVM refuses interrupt routes: %s", strerrordesc_np(-r));
	for (unsigned i = 0; i < m->n_sources; i++)
		if (m->source[i].want != m->source[i].bound)
			bind(m, &m->source[i]);
	return true;
}

void msix_sync(struct msix *m)
{
	errand_call(m->errands, run_sync, m);
}

/* The new one first: an interrupt too many is better than one that is lost. */
void msix_set_fd(struct msix *m, unsigned s, int fd)
{
	struct msix_source *src = &m->source[s];
	struct msix_source old = { .fd = src->fd, .bound = src->bound };

	src->fd = fd;
	if (old.bound == MSIX_NO_VECTOR || old.fd == fd)
		return;
	src->want = old.bound;
	src->bound = MSIX_NO_VECTOR;
	bind(m, src);
	unbind(m, &old);
}

void msix_disconnect(struct msix *m)
{
	if (m->vector == NULL)
		return;
	(void)pthread_mutex_lock(&m->mtx);
	m->enabled = false;
	(void)pthread_mutex_unlock(&m->mtx);
	for (unsigned i = 0; i < m->n_sources; i++)
		if (m->source[i].bound != MSIX_NO_VECTOR)
			unbind(m, &m->source[i]);
}

/* --- messages of the device itself ----------------------------------------------------------------------------------- */

void msix_raise(struct msix *m, uint16_t vector)
{
	if (vector >= m->n_vectors)
		return;
	(void)pthread_mutex_lock(&m->mtx);
	struct msix_vector *v = &m->vector[vector];
	struct msix_vector copy = *v;
	bool live = is_live(m, v);

	if (!live)
		v->pending = true;
	(void)pthread_mutex_unlock(&m->mtx);
	/* A message to nobody is the guest's business. */
	if (live)
		(void)irqs_inject_msi(m->irqs, copy.addr, copy.data);
}

/* What was raised while masked is delivered as soon as it can be. */
static void raise_pending(struct msix *m)
{
	for (unsigned i = 0; i < m->n_vectors; i++) {
		(void)pthread_mutex_lock(&m->mtx);
		bool due = m->vector[i].pending && is_live(m, &m->vector[i]);

		if (due)
			m->vector[i].pending = false;
		(void)pthread_mutex_unlock(&m->mtx);
		if (due)
			msix_raise(m, (uint16_t)i);
	}
}

void msix_forget(struct msix *m)
{
	(void)pthread_mutex_lock(&m->mtx);
	for (unsigned i = 0; i < m->n_vectors; i++)
		m->vector[i].pending = false;
	(void)pthread_mutex_unlock(&m->mtx);
}

bool msix_set_source(struct msix *m, unsigned s, uint16_t vector)
{
	struct msix_source *src = &m->source[s];
	bool matters = false;

	(void)pthread_mutex_lock(&m->mtx);
	if (src->vector != vector) {
		if (src->vector != MSIX_NO_VECTOR) {
			m->vector[src->vector].uses--;
			matters = is_live(m, &m->vector[src->vector]);
		}
		if (vector != MSIX_NO_VECTOR) {
			m->vector[vector].uses++;
			matters = matters || is_live(m, &m->vector[vector]);
		}
		src->vector = vector;
	}
	(void)pthread_mutex_unlock(&m->mtx);
	return matters;
}

/* --- control register ------------------------------------------------------------------------------------------------- */

uint16_t msix_control(struct msix *m)
{
	(void)pthread_mutex_lock(&m->mtx);
	uint16_t v = (uint16_t)((m->n_vectors - 1) | (m->enabled ? PCI_MSIX_FLAGS_ENABLE : 0) |
				(m->function_mask ? PCI_MSIX_FLAGS_MASKALL : 0));

	(void)pthread_mutex_unlock(&m->mtx);
	return v;
}

/* [mtx] */
static bool any_unmasked(const struct msix *m)
{
	for (unsigned i = 0; i < m->n_vectors; i++)
		if (!m->vector[i].masked)
			return true;
	return false;
}

void msix_write_control(struct msix *m, uint16_t value)
{
	bool enabled = (value & PCI_MSIX_FLAGS_ENABLE) != 0, mask = (value & PCI_MSIX_FLAGS_MASKALL) != 0;

	(void)pthread_mutex_lock(&m->mtx);
	bool matters = (m->enabled && !m->function_mask) != (enabled && !mask) && any_unmasked(m);

	m->enabled = enabled;
	m->function_mask = mask;
	(void)pthread_mutex_unlock(&m->mtx);
	if (!matters)
		return;
	msix_sync(m);
	raise_pending(m);
}

/* --- table ------------------------------------------------------------------------------------------------------------ */

/* A field, or two that lie together: 4 bytes at a multiple of 4, 8 at a multiple of 8. */
static bool is_good_access(uint64_t off, unsigned len, uint64_t size)
{
	return (len == 4 || len == 8) && off % len == 0 && off < size;
}

static uint32_t read_field(const struct msix_vector *v, unsigned field)
{
	switch (field) {
	case FIELD_ADDR:
		return (uint32_t)v->addr;
	case FIELD_ADDR + 4:
		return (uint32_t)(v->addr >> 32);
	case FIELD_DATA:
		return v->data;
	}
	return v->masked ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0;
}

static void write_field(struct msix_vector *v, unsigned field, uint32_t value)
{
	switch (field) {
	case FIELD_ADDR:
		v->addr = (v->addr & ~(uint64_t)UINT32_MAX) | (value & ~UINT32_C(3));
		break;
	case FIELD_ADDR + 4:
		v->addr = (uint64_t)value << 32 | (uint32_t)v->addr;
		break;
	case FIELD_DATA:
		v->data = value;
		break;
	case FIELD_CONTROL:
		v->masked = (value & PCI_MSIX_ENTRY_CTRL_MASKBIT) != 0;
		break;
	}
}

uint64_t msix_read_table(struct msix *m, uint64_t off, unsigned len)
{
	if (!is_good_access(off, len, (uint64_t)m->n_vectors * MSIX_ENTRY_BYTES))
		return 0;
	const struct msix_vector *v = &m->vector[off / MSIX_ENTRY_BYTES];
	const unsigned field = off % MSIX_ENTRY_BYTES;

	(void)pthread_mutex_lock(&m->mtx);
	uint64_t value = read_field(v, field);

	if (len == 8)
		value |= (uint64_t)read_field(v, field + 4) << 32;
	(void)pthread_mutex_unlock(&m->mtx);
	return value;
}

/* Does KVM have to know? It does of a live vector's message, and of a change from or to live. [mtx] */
static bool write_matters(const struct msix *m, const struct msix_vector *before, const struct msix_vector *v)
{
	bool was = is_live(m, before), is = is_live(m, v);

	return was != is || (is && (before->addr != v->addr || before->data != v->data));
}

void msix_write_table(struct msix *m, uint64_t off, uint64_t value, unsigned len)
{
	if (!is_good_access(off, len, (uint64_t)m->n_vectors * MSIX_ENTRY_BYTES))
		return;
	struct msix_vector *v = &m->vector[off / MSIX_ENTRY_BYTES];
	const unsigned field = off % MSIX_ENTRY_BYTES;

	(void)pthread_mutex_lock(&m->mtx);
	struct msix_vector before = *v;

	write_field(v, field, (uint32_t)value);
	if (len == 8)
		write_field(v, field + 4, (uint32_t)(value >> 32));
	bool matters = write_matters(m, &before, v);
	bool sync = matters && v->uses > 0;

	(void)pthread_mutex_unlock(&m->mtx);
	if (sync)
		msix_sync(m);
	if (matters)
		raise_pending(m);
}

/* --- pending bits ------------------------------------------------------------------------------------------------------ */

enum { PENDING_BITS = 64 };

struct pending {
	struct msix *m;
	unsigned first; /* vector */
	uint64_t bits;
};

/* An eventfd that nobody is bound to and that has counted something. It is only looked at: taking what it has counted would
 * lose the interrupt. Foreign back ends hold it too, but whether it can be read needs no waiting.
 *
 * #syscalls vmmd: poll
 */
static bool has_counted(const struct msix_source *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLIN) != 0;
}

static bool run_pending(void *arg)
{
	struct pending *p = arg;
	struct msix *m = p->m;

	for (unsigned i = 0; i < m->n_sources; i++) {
		const struct msix_source *s = &m->source[i];

		(void)pthread_mutex_lock(&m->mtx);
		unsigned vector = s->vector;
		(void)pthread_mutex_unlock(&m->mtx);
		if (s->bound == MSIX_NO_VECTOR && vector >= p->first && vector - p->first < PENDING_BITS &&
		    has_counted(s))
			p->bits |= UINT64_C(1) << (vector - p->first);
	}
	return true;
}

uint64_t msix_read_pending(struct msix *m, uint64_t off, unsigned len)
{
	struct pending p = { .m = m, .first = (unsigned)off / 8 * PENDING_BITS };
	bool ask = false;

	if (!is_good_access(off, len, (m->n_vectors + PENDING_BITS - 1) / PENDING_BITS * 8))
		return 0;
	(void)pthread_mutex_lock(&m->mtx);
	for (unsigned i = p.first; i < m->n_vectors && i - p.first < PENDING_BITS; i++) {
		if (m->vector[i].pending)
			p.bits |= UINT64_C(1) << (i - p.first);
		ask = ask || (m->vector[i].uses > 0 && !is_live(m, &m->vector[i]));
	}
	(void)pthread_mutex_unlock(&m->mtx);
	if (ask)
		errand_call(m->errands, run_pending, &p);
	return len == 8 ? p.bits : (uint32_t)(p.bits >> (off % 8 * 8));
}
