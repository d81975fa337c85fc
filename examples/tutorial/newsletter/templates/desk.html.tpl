{% extends "base.html.tpl" %}
{% block main %}
<p>Readers who have confirmed: {{ readers }}</p>
<form method="post" action="{{ url_for('issues.send') }}">
  <p><label>Title <input name="title" maxlength="120" required></label></p>
  <p><label>Text <textarea name="text" rows="8" cols="60" required></textarea></label></p>
  <button>Send it to all of them</button>
</form>
<form method="post" action="{{ url_for('editors.logout') }}">
  <button>Log out</button>
</form>
<form method="post" action="{{ url_for('editors.logout_everywhere') }}">
  <button>Log out everywhere</button>
</form>
{% endblock %}
