{% extends "base.html.tpl" %}
{% block title %}{{ issue.title }}{% endblock %}
{% block head %}
  {%- if issue.state != "draft" and not progress.over %}
  <script src="{{ url_for('static', filename='newsroom.js') }}" defer></script>
  <noscript><meta http-equiv="refresh" content="5"></noscript>
  {%- endif %}
{%- endblock %}
{% block main %}
{%- if issue.state == "draft" %}
<section class="card" aria-label="What to do">
  <p><span class="state draft">draft</span> Changed by {{ issue.editor }}.</p>
  <p class="row">
    <a class="button second" href="{{ url_for('issues.edit', id=issue.id) }}">Edit</a>
  </p>
  <form method="post" action="{{ url_for('issues.send', id=issue.id) }}">
    <input type="hidden" name="version" value="{{ issue.version }}">
    <label class="check"><input type="checkbox" required> I have read it, and it may go to
      {{ readers }} {{ "reader" if readers == 1 else "readers" }}.</label>
    <button>Send it</button>
  </form>
  <details>
    <summary>Delete it</summary>
    <form method="post" action="{{ url_for('issues.delete', id=issue.id) }}"><button class="second">Delete this draft for good</button></form>
  </details>
</section>
{%- else %}
<section class="card" aria-labelledby="sending" data-progress="{{ url_for('issues.progress', id=issue.id) }}">
  <h2 id="sending">{{ "Sent" if progress.over else "Sending" }}</h2>
  <progress max="{{ progress.readers or 1 }}" value="{{ progress.sent + progress.failed }}" aria-labelledby="sending"></progress>
  <p role="status"><span data-sent>{{ progress.sent }}</span> sent, <span data-waiting>{{ progress.waiting }}</span> waiting, <span data-failed>{{ progress.failed }}</span> failed.</p>
</section>
{%- if failures %}
<section class="card" aria-labelledby="failures">
  <h2 id="failures">Not delivered</h2>
  <form method="post" action="{{ url_for('issues.retry', id=issue.id) }}"><button>Try {{ "it" if progress.failed == 1 else "all %d" % progress.failed }} again</button></form>
  <table>
    <thead><tr><th scope="col">Reader</th><th scope="col">Why</th></tr></thead>
    <tbody>
      {%- for address, reason in failures %}
      <tr><td>{{ address }}</td><td>{{ reason }}</td></tr>
      {%- endfor %}
    </tbody>
  </table>
  {%- if progress.failed > failures|length %}
  <p>These are the first {{ failures|length }} of {{ progress.failed }}.</p>
  {%- endif %}
</section>
{%- endif %}
{%- endif %}
{% include "_issue.html.tpl" %}
{% endblock %}
